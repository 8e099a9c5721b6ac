"""``label_changed`` over stored features: what a head would have told of sessions that are in the lake."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cameras.rules.happenings import Happening, Moment
from pipeline.cameras.rules.head_answers import RollingHead
from pipeline.cameras.rules.label_changes import LabelRule, Spoken
from pipeline.models.heads.head import Head

COLUMNS = ("video_id", "pts", "time_s", "captured_at", "feature")
"""Those of ``features`` that are read."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a head says of some samples of a session, in arrays: there may be millions."""

    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    captured_us: NDArray[np.int64]
    labels: NDArray[np.int32]
    confidences: NDArray[np.float32]


def label_changes(head: Head, name: str, tables: Iterable[pa.Table]) -> Iterator[tuple[str, Happening]]:
    """When the head's label changes in each session: its ``video_id``, and what happens.

    Args:
        head: fits the features.
        name: of the head.
        tables: rows in ``COLUMNS``, of any sessions. Each session's are by and large in the order of time; a sample
            that was filled in later tells a head of windows nothing, as live.
    """
    said: dict[str, list[_Said]] = defaultdict(list)
    rolling: dict[str, _Rolled] = defaultdict(lambda: _Rolled(head))
    for table in tables:
        for video_id in pc.unique(table["video_id"]).to_pylist():
            rows = table.filter(pc.equal(table["video_id"], video_id)).sort_by("time_s")
            one = head.info.is_each_sample_alone
            said[video_id].append(_of_each(head, rows) if one else rolling[video_id].of_the_last(rows))
    for video_id, parts in said.items():
        rule = LabelRule(name)
        for spoken in _in_order(head, parts):
            if (happening := rule.sample(spoken)) is not None:
                yield video_id, happening


def _of_each(head: Head, rows: pa.Table) -> _Said:
    """Of each sample alone, all at once."""
    probabilities = head.frames(_features(rows))
    labels = probabilities.argmax(axis=1)
    return _said(rows, labels.astype(np.int32), probabilities[np.arange(len(labels)), labels])


class _Rolled:
    """Of the last seconds up to each sample of one session."""

    def __init__(self, head: Head) -> None:
        self._labels = head.info.labels
        self._rolling = RollingHead(head)
        self._last_s = -np.inf

    def of_the_last(self, rows: pa.Table) -> _Said:
        later = rows.filter(pc.greater(rows["time_s"], self._last_s))
        times_s = later["time_s"].to_numpy()
        self._last_s = times_s[-1] if len(times_s) else self._last_s
        answers = [
            self._rolling.answer(feature, time_s)
            for feature, time_s in zip(_features(later), times_s.tolist(), strict=True)
        ]
        labels = np.array([self._labels.index(label) for label, _ in answers], np.int32)
        return _said(later, labels, np.array([confidence for _, confidence in answers], np.float32))


def _said(rows: pa.Table, labels: NDArray[np.int32], confidences: NDArray[np.float32]) -> _Said:
    return _Said(
        pts=rows["pts"].to_numpy(),
        times_s=rows["time_s"].to_numpy(),
        captured_us=rows["captured_at"].cast(pa.int64()).to_numpy(),
        labels=labels,
        confidences=confidences,
    )


def _features(rows: pa.Table) -> NDArray[np.float32]:
    column = rows["feature"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[np.float32] = flat.astype(np.float32).reshape(len(rows), -1)
    return matrix


def _in_order(head: Head, parts: list[_Said]) -> Iterator[Spoken]:
    times_s = np.concatenate([part.times_s for part in parts])
    order = np.argsort(times_s, kind="stable")
    columns = [
        np.concatenate([getattr(part, column) for part in parts])[order]
        for column in ("pts", "captured_us", "labels", "confidences")
    ]
    for time_s, pts, captured_us, label, confidence in zip(times_s[order].tolist(), *columns, strict=True):
        yield Spoken(
            at=Moment(pts=int(pts), time_s=time_s, captured_at=_EPOCH + timedelta(microseconds=int(captured_us))),
            label=head.info.labels[int(label)],
            confidence=float(confidence),
        )
