"""A stream whose camera and model do what a test says, and what its lake tells of it afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
from heads import backbone
from numpy.typing import NDArray
from patience import PATIENCE_S
from scripted_pullers import Nothing, Source, opened

from pipeline.cameras.hosting.settings import Embed, StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.hosting.stream_host import StreamHost
from pipeline.cameras.pulling.pulled import Frame, Pulled
from pipeline.cameras.pulling.source import AllowedSources
from pipeline.cameras.pulling.source import Source as Address
from pipeline.errors import RunError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live import readers
from pipeline.records.events import EventType
from pipeline.records.streams import Gap, Session, StreamSpec

RATE_HZ = Fraction(5)
CAMERA = "rtsp://camera.example/1"


@dataclass(slots=True)
class Model:
    """Answers with the picture's brightness, after some time."""

    delay_s: float = 0.0
    hangs: bool = False
    fails: bool = False
    num_asked: int = 0

    async def __call__(self, picture: NDArray[np.uint8], /) -> NDArray[np.float32]:
        self.num_asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(self.delay_s)
        if self.fails:
            raise RunError("no replica answers")
        return np.full(6, picture.mean(), np.float32)


def settings(lake: Path, embed: Embed, *, stall_s: float = 10.0) -> StreamSettings:
    config = DatasetConfig(model=backbone().model, sample=f"fps:{RATE_HZ}", precision="fp32", dtype="float32")
    return StreamSettings(
        lake=str(lake),
        info=DatasetInfo(config=config, weights="random:0"),
        embed=embed,
        commit_s=0.1,
        publish_s=0.3,
        stall_s=stall_s,
    )


def spec(**how: object) -> StreamSpec:
    return replace(StreamSpec(name="gate", source=CAMERA, rate_hz=RATE_HZ), **how)  # type: ignore[arg-type]


ADDRESS = Address.parse(CAMERA, allowed=AllowedSources().with_own(CAMERA))
FILE = Address.parse("file:/clip.mp4", allowed=AllowedSources().with_own("file:/clip.mp4"))


@dataclass(slots=True, kw_only=True)
class Watching:
    """Watches what a script says, until a condition holds, and then stops."""

    lake: Path
    scripts: Sequence[Sequence[Pulled | Nothing]]
    model: Model = field(default_factory=Model)
    spec: StreamSpec = field(default_factory=spec)
    address: Address = ADDRESS
    stall_s: float = 10.0
    stop_took_s: float = 0.0

    def until(self, condition: str | int) -> StreamStatus:
        """Until a script is ``heard``, and so many rows are there; the stream is in a state, or over by itself."""
        return asyncio.run(self._until(condition))

    async def _until(self, condition: str | int) -> StreamStatus:
        source = Source(list(self.scripts))
        host = StreamHost(
            self.spec,
            self.address,
            settings(self.lake, self.model, stall_s=self.stall_s),
            connect=source.connect,
        )
        await host.start()
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not _holds(condition, host, source):
                assert time.monotonic() < deadline, host.status()
                await asyncio.sleep(0.01)
        finally:
            began = time.monotonic()
            status = await host.stop()
            self.stop_took_s = time.monotonic() - began
        assert all(puller.is_closed for puller in source.pullers)
        return status


def _holds(condition: str | int, host: StreamHost, source: Source) -> bool:
    status = host.status()
    match condition:
        case "over":
            return host.is_over
        case "heard":
            return source.is_heard_out()
        case int():
            return source.is_heard_out() and status.counters.samples >= condition
    return status.state.value == condition


def rows_of(lake: Path, session: Session) -> list[float]:
    tables = readers.rows(str(lake), video_id=session.video_id, columns=["time_s"])
    return sorted(time_s for table in tables for time_s in table["time_s"].to_pylist())


def account(lake: Path, session: Session) -> Counter[str]:
    """What became of each slot of a session; each is told once, and none is passed over."""
    told: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    for time_s in rows_of(lake, session):
        told[round(time_s * RATE_HZ)] += 1
        outcomes["row"] += 1
    for gap in inner_gaps(lake, session):
        assert gap.start_s is not None
        assert gap.end_s is not None
        slots = range(round(gap.start_s * RATE_HZ), round(gap.end_s * RATE_HZ))
        assert len(slots) == gap.num_slots
        told.update(slots)
        outcomes[gap.reason.value] += len(slots)
    assert told == Counter(range(max(told, default=-1) + 1))
    return outcomes


def gaps_of(lake: Path) -> list[Gap]:
    return [stored.gap for stored in readers.gaps(str(lake), "gate")]


def inner_gaps(lake: Path, session: Session) -> Iterator[Gap]:
    yield from (gap for gap in gaps_of(lake) if gap.video_id == session.video_id and gap.start_s is not None)


def outer_gaps(lake: Path) -> list[Gap]:
    return [gap for gap in gaps_of(lake) if gap.start_s is None]


def num_slots(gap: Gap) -> int:
    """How many whole slots its time has room for."""
    return int((gap.captured_to - gap.captured_from) / timedelta(seconds=1) * RATE_HZ)


def sessions_of(lake: Path) -> list[Session]:
    return [stored.session for stored in readers.sessions(str(lake), "gate")]


def states_of(lake: Path) -> list[str | None]:
    return [event.label for event in readers.events(str(lake), "gate") if event.type is EventType.STREAM_STATE]


def playing(frames: Iterable[Frame]) -> list[Pulled]:
    return [opened(), *frames]
