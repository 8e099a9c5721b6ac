"""Lakes that a stream wrote to, and its recordings, made as a stream's host makes them: frames by the sampling rule."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import groupby

import numpy as np
from media import extract
from numpy.typing import NDArray
from recordings import STARTED_AT, parts_of, record, session

from pipeline.cameras.recordings.writer import RecordingWriter
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.writer import LiveWriter
from pipeline.models.embedder import Embedder
from pipeline.models.preprocess import prepare
from pipeline.models.registry import load_model
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, GapReason, Session

RATE_HZ = Fraction(5)
_COMMITTED_SLOTS = 5


@cache
def embedder() -> Embedder:
    """The model of these lakes."""
    return Embedder(load_model("video_cnn", weights="random:0", window=None), precision="fp32")


def info() -> DatasetInfo:
    config = DatasetConfig(model=embedder().info, sample=f"fps:{RATE_HZ}", precision="fp32", dtype="float32")
    return DatasetInfo(config=config, weights="random:0")


@dataclass(frozen=True)
class Sample:
    """A slot's frame, and what the model makes of it."""

    mark: FrameMark
    feature: NDArray[np.float32]


@dataclass
class Watched:
    """A stream from its first packet to its last; ``samples`` by slot are what there is to know of it."""

    data: bytes
    session: Session
    samples: dict[int, Sample] = field(default_factory=dict)

    @classmethod
    def of(cls, data: bytes, *, stream: str = "gate", started_at: datetime = STARTED_AT) -> "Watched":
        watched = cls(data, session(stream, data=data, started_at=started_at))
        decoded = extract(data, f"fps:{RATE_HZ}")
        preprocessing = embedder().info.preprocessing
        pictures = np.stack([prepare(each, preprocessing=preprocessing) for each in decoded.pictures])
        for mark, feature in zip(decoded.marks, embedder().embed([pictures]), strict=True):
            watched.samples[round(mark.time_s * RATE_HZ)] = Sample(mark, feature)
        assert watched.samples.keys() == set(range(len(watched.samples)))
        return watched

    def time_of(self, slot: int) -> datetime:
        return self.session.started_at + timedelta(seconds=float(slot / RATE_HZ))

    def gap(self, slots: range, reason: GapReason) -> Gap:
        edges = [
            self.session.start_pts + int(slot / RATE_HZ / self.session.time_base) for slot in (slots[0], slots.stop)
        ]
        return Gap(
            video_id=self.session.video_id,
            uri=self.session.uri,
            stream=self.session.stream,
            reason=reason,
            num_slots=len(slots),
            start_pts=edges[0],
            end_pts=edges[1],
            start_s=float(slots[0] / RATE_HZ),
            end_s=float(slots.stop / RATE_HZ),
            captured_from=self.time_of(slots[0]),
            captured_to=self.time_of(slots.stop),
        )

    def batches(self, missing: Mapping[int, GapReason]) -> Iterable[LiveBatch]:
        """What is committed, some slots at a time."""
        slots = sorted(self.samples)
        for at in range(0, len(slots), _COMMITTED_SLOTS):
            some = slots[at : at + _COMMITTED_SLOTS]
            rows = [slot for slot in some if slot not in missing]
            runs = groupby(some, key=missing.get)
            lists = [(reason, list(run)) for reason, run in runs if reason is not None]
            yield LiveBatch(
                marks=tuple(self.samples[slot].mark for slot in rows),
                captured_at=tuple(self.time_of(slot) for slot in rows),
                features=np.stack([self.samples[slot].feature for slot in rows]) if rows else None,
                gaps=tuple(self.gap(range(run[0], run[-1] + 1), reason) for reason, run in lists),
            )


def begun(lake: str, watched: Watched, *, missing: Mapping[int, GapReason]) -> LiveWriter:
    """The stream goes on: all is committed, nothing has ended."""
    stream = watched.session
    writer = LiveWriter(lake, info=info(), stream=stream.stream, uri_of_source=stream.uri, publish_s=1000)
    writer.begin(stream)
    for batch in watched.batches(missing):
        writer.commit(batch)
    return writer


def watch(
    lake: str, watched: Watched, *, dropped: Collection[int] = (), gated: Collection[int] = (), record_to: str | None
) -> None:
    """The stream is watched from its beginning to its end, and recorded in files of a second."""
    missing = {**dict.fromkeys(dropped, GapReason.DROPPED), **dict.fromkeys(gated, GapReason.GATED)}
    with begun(lake, watched, missing=missing) as writer:
        if record_to is not None:
            recorded(lake, watched, to=record_to)
        writer.end(ended_at=watched.time_of(len(watched.samples)))


def recorded(lake: str, watched: Watched, *, to: str, keep: timedelta | None = None) -> None:
    recording = RecordingWriter(to, watched.session, lake=lake, keep=keep)
    record(recording, parts_of(watched.data, longest_s=0.9))
    recording.close(timeout_s=60)
    assert recording.error is None
