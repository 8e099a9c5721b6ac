"""How long ``status`` takes of many cameras over many days: ``python benchmarks/streams_status.py [CAMERAS [DAYS]]``.

The lake has the files that cameras leave: one a table every half an hour. Their rows are few, for ``status`` reads
none.
"""

import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.entries import EntryKey
from pipeline.lake.live.entry_rows import entry_of
from pipeline.lake.live.names import Span
from pipeline.lake.live.publication import publish_entries
from pipeline.lake.live.session_rows import SessionRow, change_session
from pipeline.lake.live.writer import LiveWriter
from pipeline.lake.publishing.slots import StreamSlot
from pipeline.lake.tables import read_status
from pipeline.records.events import Event, EventType
from pipeline.records.model_info import ModelInfo, Preprocessing
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, GapReason, Session

DIM = 64
FILE_S = 1800
FILES_A_DAY = 86_400 // FILE_S
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = ModelInfo(
    name="tiny", dim=DIM, weights_digest="sha256:00", preprocessing=Preprocessing(resize_px=4, crop_px=(4, 4))
)
INFO = DatasetInfo(
    config=DatasetConfig(model=MODEL, sample="fps:1", precision="fp32", dtype="float32"), weights="random:0"
)


def session_of(stream: str, day: int) -> Session:
    """A session a day."""
    return Session(
        video_id=f"{abs(hash((stream, day))) % 16**20:020x}",
        uri="rtsp://camera/1",
        stream=stream,
        started_at=BEGAN + timedelta(days=day),
        time_base=Fraction(1, 90_000),
        start_pts=0,
        container="rtsp",
        codec="h264",
        width=1920,
        height=1080,
        rotation=0,
        pix_fmt="yuv420p",
    )


def batch_of(session: Session, number: int) -> LiveBatch:
    """What half an hour leaves of each table, with one row for every minute of it."""
    slots = range(number * FILE_S, (number + 1) * FILE_S, 60)
    moments = tuple(session.started_at + timedelta(seconds=slot) for slot in slots)
    marks = tuple(
        FrameMark(epoch=0, pts=slot * 90_000, time_s=float(slot), is_keyframe=False, is_corrupt=False) for slot in slots
    )
    first, end = slots[0], slots[0] + 30
    gap = Gap(
        video_id=session.video_id,
        uri=session.uri,
        stream=session.stream,
        reason=GapReason.GATED,
        num_slots=30,
        start_pts=first * 90_000,
        end_pts=end * 90_000,
        start_s=float(first),
        end_s=float(end),
        captured_from=moments[0],
        captured_to=moments[0] + timedelta(seconds=30),
    )
    event = Event(
        event_id=f"{moments[0]:%Y%m%dT%H%M%S}",
        video_id=session.video_id,
        uri=session.uri,
        stream=session.stream,
        type=EventType.MOTION_START,
        pts=marks[0].pts,
        time_s=marks[0].time_s,
        captured_at=moments[0],
    )
    features = np.zeros((len(marks), DIM), np.float32)
    return LiveBatch(marks=marks, captured_at=moments, features=features, gaps=(gap,), events=(event,))


def write(lake: str, cameras: int, days: int) -> None:
    """The files of all cameras: a day of one, and links to them under the names of all others."""
    dataset, first_day = Dataset.at(lake), list[EntryKey]()
    for camera in range(cameras):
        stream = f"camera{camera:02d}"
        LiveWriter(lake, info=INFO, stream=stream, uri_of_source="rtsp://camera/1", publish_s=FILE_S).close()
        held = dataset.backend.acquire(slot=StreamSlot(stream=stream))
        writer = f"{20261101000000000000 + camera}{held.token[-8:]}"
        for day in range(days):
            session = session_of(stream, day)
            change_session(dataset.files, SessionRow.of(session, writer=writer), lambda row: row, token=held.token)
            for at in range(FILES_A_DAY):
                key = EntryKey(stream=stream, writer=writer, number=day * FILES_A_DAY + at + 1)
                if camera or day:
                    link(Path(lake), first_day[at], key)
                else:
                    entry = entry_of(batch_of(session, at), key, session=session, info=INFO, rate_hz=Fraction(1))
                    publish_entries(dataset.files, INFO, [entry], is_repeated=False, token=held.token)
                    first_day.append(key)
        held.release()


def link(lake: Path, first: EntryKey, other: EntryKey) -> None:
    """The files of an entry under the names of another one."""
    for name in ("features", "gaps", "events"):
        os.link(lake / Span.of([first]).file(name), lake / Span.of([other]).file(name))


def main() -> None:
    """Write the lake and time ``status``."""
    cameras, days = (int(word) for word in (*sys.argv[1:], *("16", "30")[len(sys.argv) - 1 :]))
    os.fsync = lambda fd: None  # what is measured is reading
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        write(folder, cameras, days)
        num_files = sum(1 for _ in Path(folder).rglob("*.parquet"))
        print(f"{num_files} files of {cameras} cameras and {days} days, written in {time.monotonic() - began:.0f} s")
        for _ in range(2):
            began = time.monotonic()
            status = read_status(folder)
            took_s = time.monotonic() - began
            print(f"status of {len(status.streams)} streams: {took_s:.1f} s")


if __name__ == "__main__":
    main()
