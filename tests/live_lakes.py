"""Sessions of a stream as small as they can be, written into a lake by its writer."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from rows import DIM, dataset_info, id_of
from sessions import camera_session

from pipeline.lake.live import readers
from pipeline.lake.live.batches import LiveBatch, StoredGap
from pipeline.lake.live.fill import LiveFill
from pipeline.lake.live.writer import LiveWriter
from pipeline.records.events import Event, EventType, TrackPoint
from pipeline.records.geometry import Box
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, GapReason, Session

RATE_HZ = 1
"""Of ``rows.config``: a slot is a second."""
BEGAN = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
SOURCE = "rtsp://gate/cam"
TIME_BASE = Fraction(1, 1000)
TESTS = str(Path(__file__).parent)
KILLED_AT = """
import os, sys
left = [int(sys.argv[2])]
def killing(real):
    def call(*arguments, **options):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)
        return real(*arguments, **options)
    return call
for name in ("fsync", "link", "replace", "unlink"):
    setattr(os, name, killing(getattr(os, name)))
from pipeline.lake.publishing.bucket_store import BucketStore
for name in ("publish", "replace", "remove"):
    setattr(BucketStore, name, killing(getattr(BucketStore, name)))
"""
"""How a program begins that is killed before the so many-th change of the place, its second argument."""


def session(number: int = 0, *, stream: str = "gate") -> Session:
    """The ``number``-th session of a stream; a hundred seconds lie between the beginnings of two."""
    return camera_session(
        id_of(f"{stream}.{number}"),
        stream=stream,
        uri=SOURCE,
        started_at=BEGAN + timedelta(seconds=100 * number),
        time_base=TIME_BASE,
        start_pts=5000,
    )


def moment(of: Session, slot: int) -> datetime:
    return of.started_at + timedelta(seconds=slot)


def features_of(of: Session, slot: int) -> list[float]:
    return [float(int(of.video_id[:4], 16)), float(slot), 0.5, -1.0][:DIM]


def gap(of: Session, first: int, end: int, *, reason: GapReason = GapReason.DROPPED, is_inside: bool = True) -> Gap:
    """The slots from ``first`` to ``end - 1``, in a session or behind it."""
    return Gap(
        video_id=of.video_id,
        uri=of.uri,
        stream=of.stream,
        reason=reason,
        num_slots=end - first,
        start_pts=5000 + first * 1000 if is_inside else None,
        end_pts=5000 + end * 1000 if is_inside else None,
        start_s=float(first) if is_inside else None,
        end_s=float(end) if is_inside else None,
        captured_from=moment(of, first),
        captured_to=moment(of, end),
    )


def mark(slot: int, *, is_corrupt: bool = False) -> FrameMark:
    return FrameMark(
        epoch=0, pts=5000 + slot * 1000, time_s=float(slot), is_keyframe=slot % 4 == 0, is_corrupt=is_corrupt
    )


def event(of: Session, slot: int) -> Event:
    return Event(
        event_id=f"{moment(of, slot):%Y%m%dT%H%M%S}-{of.video_id}",
        video_id=of.video_id,
        uri=of.uri,
        stream=of.stream,
        type=EventType.LINE_CROSSED,
        pts=5000 + slot * 1000,
        time_s=float(slot),
        captured_at=moment(of, slot),
        track=7,
        label="car",
        confidence=0.75,
        box=Box(left=0.1, top=0.2, width=0.3, height=0.4),
        name="ROAD",
        value={"of": slot},
    )


def track_point(of: Session, slot: int) -> TrackPoint:
    return TrackPoint(
        video_id=of.video_id,
        stream=of.stream,
        track=7,
        pts=5000 + slot * 1000,
        time_s=float(slot),
        captured_at=moment(of, slot),
        box=Box(left=0.1, top=0.2, width=0.3, height=0.4),
        label=None,
        confidence=None,
    )


def batch(of: Session, first: int, end: int, *, missing: tuple[int, int] | None = None) -> LiveBatch:
    """The slots from ``first`` to ``end - 1``: rows, but for those that are ``missing``; and an event of the first."""
    out = range(*missing) if missing else range(0)
    slots = [slot for slot in range(first, end) if slot not in out]
    return LiveBatch(
        marks=tuple(map(mark, slots)),
        captured_at=tuple(moment(of, slot) for slot in slots),
        features=np.array([features_of(of, slot) for slot in slots], np.float32).reshape(-1, DIM),
        gaps=(gap(of, *missing),) if missing else (),
        events=(event(of, first),),
        tracks=(track_point(of, first),),
    )


def writer(folder: Path | str, *, stream: str = "gate", publish_s: float = 1000.0) -> LiveWriter:
    return LiveWriter(str(folder), info=dataset_info(), stream=stream, uri_of_source=SOURCE, publish_s=publish_s)


def table(folder: Path | str, name: str) -> pa.Table:
    """What readers with no code of ours see."""
    return pads.dataset(f"{folder}/{name}", format="parquet").to_table()


def slots_of(folder: Path | str, of: Session) -> dict[int, str]:
    """What tells of each slot of a session: a row, or the reason of a gap; no slot is told of twice."""
    told: dict[int, str] = {}
    for rows in readers.rows(str(folder), video_id=of.video_id):
        for time_s in rows["time_s"].to_pylist():
            assert int(time_s) not in told
            told[int(time_s)] = "row"
    for each in readers.gaps(str(folder), of.stream):
        if (
            each.gap.video_id == of.video_id
            and each.gap.start_s is not None
            and each.gap.end_s is not None
            and not each.is_filled
        ):
            slots = range(int(each.gap.start_s), int(each.gap.end_s))
            assert len(slots) == each.gap.num_slots
            assert not told.keys() & set(slots)
            told |= dict.fromkeys(slots, str(each.gap.reason))
    return dict(sorted(told.items()))


def status_of(folder: Path | str, of: Session) -> str:
    [status] = [row["status"] for row in table(folder, "videos").to_pylist() if row["video_id"] == of.video_id]
    return str(status)


def dropped(folder: Path | str) -> list[StoredGap]:
    return [each for each in readers.gaps(str(folder)) if each.gap.reason == "dropped" and not each.is_filled]


def fill(folder: Path | str, of: Session, slots: range) -> None:
    """Fill these slots of a session, each gap by itself."""
    with LiveFill(str(folder)) as filling:
        for each in dropped(folder):
            if each.gap.video_id != of.video_id:
                continue
            assert each.gap.start_s is not None
            first = int(each.gap.start_s)
            own = [slot for slot in range(first, first + each.gap.num_slots) if slot in slots]
            vectors = np.array([features_of(of, slot) for slot in own], np.float32).reshape(-1, DIM)
            filling.commit([each], tuple(map(mark, own)), vectors)


def killed(folder: Path, of: Session) -> None:
    """A program that has committed three slots of a session, and is no more."""
    killed_after(folder, f"of = session(stream={of.stream!r}); stream.begin(of); stream.commit(batch(of, 0, 3))")


def killed_after(folder: Path, statements: str = "") -> None:
    """A program that has made a ``stream`` writer, done this with it, and is no more."""
    code = f"import sys; sys.path[:0] = [{TESTS!r}]\nfrom live_lakes import *\nimport os\n"
    code += f"stream = writer(sys.argv[1])\n{statements}\nos.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == -9
