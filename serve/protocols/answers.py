"""What the answers of several routes say in the same words: what is missing of a video, labels, which head it was."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from pipeline.records.segments import Quarantined
from serve.inference.head_folder import ServedHead
from serve.inference.labels import Ranking
from serve.inference.service import Moments
from serve.problems import public_detail

HEAD_HEADER, DIGEST_HEADER = "x-vidlake-head", "x-vidlake-head-digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A stretch of a damaged video that is not among the samples."""

    start_s: float | None
    end_s: float | None
    code: str
    message: str

    @classmethod
    def of(cls, failure: Quarantined) -> Self:
        """What the batch job would put into quarantine, with a sentence for the client."""
        message = public_detail(failure.reason, failure.detail)
        start_s, end_s = failure.missing_start_s, failure.missing_end_s
        return cls(start_s=start_s, end_s=end_s, code=failure.reason, message=message)


def head_headers(served: ServedHead | None) -> dict[str, str]:
    """The headers that tell which version of which head gave an answer; none where it was the model itself."""
    if served is None:
        return {}
    return {HEAD_HEADER: f"{served.name}@{served.version}", DIGEST_HEADER: served.digest}


def time_columns(moments: Moments) -> dict[str, pa.Array]:
    """The columns ``pts`` and ``time_s`` of samples and, of windows, those of a dataset that say where they end."""
    times = {
        "pts": pa.array([mark.pts for mark in moments.marks], pa.int64()),
        "time_s": pa.array([mark.time_s for mark in moments.marks], pa.float64()),
    }
    if moments.ends is None:
        return times
    return {
        **times,
        "end_pts": pa.array([end.pts for end in moments.ends], pa.int64()),
        "end_time_s": pa.array([end.time_s for end in moments.ends], pa.float64()),
        "num_frames": pa.array([end.num_frames for end in moments.ends], pa.int32()),
    }


def label_column(ranking: Ranking) -> pa.Array:
    """The labels of each row as a column ``list<struct<label, probability>>``."""
    names = pa.array(ranking.classes, pa.string()).take(pa.array(ranking.order.reshape(-1)))
    probabilities = pa.array(ranking.probabilities.reshape(-1), pa.float32())
    labels = pa.StructArray.from_arrays([names, probabilities], ["label", "probability"])
    starts = np.arange(len(ranking.order) + 1, dtype=np.int32) * ranking.order.shape[1]
    return pa.ListArray.from_arrays(pa.array(starts), labels)
