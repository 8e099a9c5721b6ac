"""One stream from its start to its stop: whatever the camera does, every slot is a row or in exactly one gap."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from heads import backbone
from numpy.typing import NDArray
from scripted_pullers import Camera, Nothing, Source, ended, opened

from pipeline.cameras.hosting.settings import Embed, StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.hosting.stream_host import StreamHost
from pipeline.cameras.pulling.pulled import EndReason, Frame, Pulled
from pipeline.cameras.pulling.source import AllowedSources
from pipeline.cameras.pulling.source import Source as Address
from pipeline.errors import RunError, UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live import readers
from pipeline.lake.live.view import LiveLake
from pipeline.records.events import EventType
from pipeline.records.streams import Gap, GapReason, MotionLevel, Session, StreamSpec, StreamState
from pipeline.records.tables import FEATURES

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
        deadline = time.monotonic() + 60
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


def test_each_slot_is_a_row(tmp_path: Path) -> None:
    status = Watching(lake=tmp_path, scripts=[playing(Camera().frames(range(100)))]).until(20)
    [session] = sessions_of(tmp_path)

    assert account(tmp_path, session) == {"row": 20}
    assert status.counters.pictures == 100
    assert status.state is StreamState.STOPPED
    assert outer_gaps(tmp_path) == []
    assert states_of(tmp_path) == ["connecting", "playing", "stopped"]


def test_rows_tell_when_their_slots_were(tmp_path: Path) -> None:
    camera = Camera()
    Watching(lake=tmp_path, scripts=[playing(camera.frames(range(50)))]).until(10)
    [session] = sessions_of(tmp_path)
    tables = readers.rows(str(tmp_path), video_id=session.video_id)  # a machine that is slow commits more than once
    captured = [moment for table in tables for moment in table["captured_at"].to_pylist()]
    started_at = datetime.fromtimestamp(camera.starts_at, UTC)

    assert session.started_at == started_at
    assert captured == [started_at + timedelta(seconds=slot / 5) for slot in range(10)]


def test_a_model_that_is_too_slow_costs_slots_that_are_told(tmp_path: Path) -> None:
    model = Model(delay_s=0.2)
    Watching(lake=tmp_path, scripts=[playing(Camera().frames(range(500)))], model=model).until(10)
    [session] = sessions_of(tmp_path)
    outcomes = account(tmp_path, session)

    assert outcomes.keys() == {"row", "dropped"}
    assert outcomes.total() == 100
    assert outcomes["dropped"] >= 20


def test_pictures_that_were_given_up_before_they_were_read_are_dropped(tmp_path: Path) -> None:
    frames = Camera().frames(range(100), without_picture=(10, 15, 50))
    status = Watching(lake=tmp_path, scripts=[playing(frames)]).until(17)
    [session] = sessions_of(tmp_path)

    assert account(tmp_path, session) == {"row": 17, "dropped": 3}
    assert status.counters.dropped == 3


def test_a_model_that_fails_costs_slots_that_are_told_and_is_the_last_error(tmp_path: Path) -> None:
    watching = Watching(lake=tmp_path, scripts=[playing(Camera().frames(range(50)))], model=Model(fails=True))
    status = watching.until("heard")
    [session] = sessions_of(tmp_path)

    assert account(tmp_path, session) == {"dropped": 10}
    assert status.last_error == "the model gave no answer: no replica answers"


def test_frames_that_are_missing_inside_a_session_are_corrupt(tmp_path: Path) -> None:
    camera = Camera()
    frames = [*camera.frames(range(20)), *(frame for frame in camera.frames(range(100)) if frame.time_s >= 2)]
    Watching(lake=tmp_path, scripts=[playing(frames)]).until(14)
    [session] = sessions_of(tmp_path)

    assert account(tmp_path, session) == {"row": 14, "corrupt": 6}


def test_with_a_gate_only_what_moves_reaches_the_model(tmp_path: Path) -> None:
    still = [replace(frame, luma=np.full((90, 160), 80, np.uint8)) for frame in Camera().frames(range(100))]
    model = Model()
    watching = Watching(lake=tmp_path, scripts=[playing(still)], model=model, spec=spec(motion=MotionLevel.MEDIUM))
    status = watching.until("heard")
    [session] = sessions_of(tmp_path)
    outcomes = account(tmp_path, session)

    assert outcomes.total() == 20
    assert outcomes["gated"] == status.counters.gated >= 15
    assert model.num_asked == outcomes["row"]
    assert readers.sessions(str(tmp_path))[0].status == "ok"


def test_a_changed_size_begins_another_session_and_loses_nothing(tmp_path: Path) -> None:
    camera = Camera()
    later = Camera(starts_at=camera.starts_at + 2)
    script: list[Pulled] = [
        opened(),
        *camera.frames(range(50)),
        opened(width=320, why="size"),
        *later.frames(range(50)),
    ]
    Watching(lake=tmp_path, scripts=[script]).until(20)
    first, second = sessions_of(tmp_path)

    assert [account(tmp_path, session) for session in (first, second)] == [{"row": 10}, {"row": 10}]
    assert (first.width, second.width) == (160, 320)
    assert outer_gaps(tmp_path) == []
    assert states_of(tmp_path) == ["connecting", "playing", "stopped"]


@pytest.mark.parametrize(
    "end",
    [ended(), ended(EndReason.CRASHED, "signal 11"), ended(EndReason.KILLED), ended(EndReason.UNREADABLE)],
    ids=str,
)
def test_a_connection_that_ends_is_made_again_and_what_was_missed_is_told(tmp_path: Path, end: Pulled) -> None:
    camera = Camera()
    back = Camera(starts_at=camera.starts_at + 4.3)
    scripts = [[*playing(camera.frames(range(50))), end], playing(back.frames(range(50)))]
    status = Watching(lake=tmp_path, scripts=scripts).until(20)
    first, second = sessions_of(tmp_path)
    [gap] = outer_gaps(tmp_path)

    assert [account(tmp_path, session) for session in (first, second)] == [{"row": 10}, {"row": 10}]
    assert (gap.reason, gap.num_slots, gap.video_id) == (GapReason.DISCONNECTED, 11, first.video_id)
    assert gap.captured_from == first.started_at + timedelta(seconds=2)
    assert gap.captured_to == second.started_at
    assert states_of(tmp_path) == ["connecting", "playing", "reconnecting", "playing", "stopped"]
    assert (status.counters.reconnects, status.counters.gaps) == (1, 11)


def test_a_camera_that_hangs_is_given_up_and_the_time_is_told_as_stalled(tmp_path: Path) -> None:
    camera = Camera()
    back = Camera(starts_at=camera.starts_at + 6)
    scripts = [playing(camera.frames(range(50))), playing(back.frames(range(50)))]
    Watching(lake=tmp_path, scripts=scripts, stall_s=2.0).until(20)
    [gap] = outer_gaps(tmp_path)

    assert (gap.reason, gap.num_slots) == (GapReason.STALLED, 20)
    assert states_of(tmp_path) == ["connecting", "playing", "stalled", "reconnecting", "playing", "stopped"]


def test_a_camera_that_never_shows_anything_is_given_up(tmp_path: Path) -> None:
    Watching(lake=tmp_path, scripts=[[opened()]], stall_s=1.0).until("reconnecting")

    assert states_of(tmp_path) == ["connecting", "stalled", "reconnecting", "stopped"]


@pytest.mark.parametrize(
    ("before", "between"),
    [
        pytest.param([Nothing(after_s=0.1, is_starting=True)] * 25, [], id="the-decoder-starts-slowly"),
        pytest.param([Nothing(after_s=0.1)] * 25, [], id="the-first-keyframe-is-far"),
        pytest.param([Nothing(after_s=2.5, is_starting=True)], [Nothing(after_s=2.5)], id="the-machine-was-asleep"),
    ],
)
def test_time_in_which_no_camera_could_show_anything_is_no_stall(
    tmp_path: Path, before: list[Nothing], between: list[Nothing]
) -> None:
    camera = Camera()
    script: list[Pulled | Nothing] = [*before, opened()]
    script += [*camera.frames(range(25)), *between, *camera.frames(range(25, 50))]
    Watching(lake=tmp_path, scripts=[script], stall_s=2.0).until(10)

    assert states_of(tmp_path) == ["connecting", "playing", "stopped"]


def test_pictures_that_come_later_and_later_are_a_stall(tmp_path: Path) -> None:
    camera = Camera()
    late = [replace(frame, arrived_at=frame.arrived_at + float(frame.time_s)) for frame in camera.frames(range(2000))]
    Watching(lake=tmp_path, scripts=[playing(late)], stall_s=2.0).until("reconnecting")

    assert states_of(tmp_path) == ["connecting", "playing", "stalled", "reconnecting", "stopped"]


def test_before_the_first_session_nobody_was_connected(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    late = Camera(starts_at=began.timestamp() + 60)
    scripts: list[list[Pulled]] = [[ended(EndReason.UNREACHABLE, "refused")], playing(late.frames(range(50)))]
    Watching(lake=tmp_path, scripts=scripts).until(10)
    [gap] = outer_gaps(tmp_path)

    assert (gap.video_id, gap.reason) == (None, GapReason.DISCONNECTED)
    assert began <= gap.captured_from
    assert gap.captured_to == datetime.fromtimestamp(late.starts_at, UTC)
    assert gap.num_slots == num_slots(gap) > 0
    assert states_of(tmp_path) == ["connecting", "reconnecting", "playing", "stopped"]


def test_a_stop_while_nobody_is_connected_tells_what_was_missed_until_then(tmp_path: Path) -> None:
    scripts = [[*playing(Camera(starts_at=time.time() - 3).frames(range(25))), ended()]]
    Watching(lake=tmp_path, scripts=scripts).until("reconnecting")
    [session] = sessions_of(tmp_path)
    [gap] = outer_gaps(tmp_path)

    assert gap.captured_from == session.started_at + timedelta(seconds=1)
    assert gap.captured_to <= datetime.now(UTC)
    assert gap.num_slots == num_slots(gap) >= 9


def test_a_file_that_was_played_to_its_end_is_over(tmp_path: Path) -> None:
    scripts = [[*playing(Camera().frames(range(50))), ended(EndReason.ENDED)]]
    status = Watching(lake=tmp_path, scripts=scripts, address=FILE).until("over")

    assert status.reason == "ended"
    assert account(tmp_path, sessions_of(tmp_path)[0]) == {"row": 10}
    assert outer_gaps(tmp_path) == []
    assert readers.sessions(str(tmp_path))[0].status == "ok"


def test_at_the_end_of_a_file_a_slow_model_is_waited_for(tmp_path: Path) -> None:
    scripts = [[*playing(Camera().frames(range(50))), ended(EndReason.ENDED)]]
    Watching(lake=tmp_path, scripts=scripts, address=FILE, model=Model(delay_s=1.0)).until("over")

    assert account(tmp_path, sessions_of(tmp_path)[0]) == {"row": 10}


@pytest.mark.parametrize(
    ("state", "scripts", "model"),
    [
        pytest.param("playing", [playing(Camera().frames(range(100)))], Model(hangs=True), id="the-model-hangs"),
        pytest.param("connecting", [[]], Model(), id="nothing-comes"),
        pytest.param("reconnecting", [[ended()]], Model(), id="between-attempts"),
        pytest.param("playing", [playing(Camera().frames(range(100)))], Model(), id="playing"),
    ],
)
def test_it_stops_within_two_seconds(tmp_path: Path, state: str, scripts: list[list[Pulled]], model: Model) -> None:
    took_s = []
    for attempt in range(3):  # the best of a few: other tests are at work beside this one
        watching = Watching(lake=tmp_path / str(attempt), scripts=scripts, model=model)
        watching.until(state)
        took_s.append(watching.stop_took_s)
        if took_s[-1] < 2:
            return
    raise AssertionError(took_s)


def test_what_the_model_has_not_answered_when_it_is_stopped_is_dropped(tmp_path: Path) -> None:
    watching = Watching(lake=tmp_path, scripts=[playing(Camera().frames(range(100)))], model=Model(hangs=True))
    watching.until("heard")

    assert account(tmp_path, sessions_of(tmp_path)[0]) == {"dropped": 20}


def test_a_second_writer_of_the_same_stream_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        first, second = (
            StreamHost(spec(), ADDRESS, settings(tmp_path, Model()), connect=Source([[]]).connect) for _ in "12"
        )
        await first.start()
        try:
            with pytest.raises(UsageError):
                await second.start()
        finally:
            await first.stop()

    asyncio.run(run())


def test_recordings_that_cannot_be_written_are_said_before_the_stream_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    lake, where = tmp_path / "lake", str(tmp_path / "file" / "rec")
    host = StreamHost(spec(record=where), ADDRESS, settings(lake, Model()), connect=Source([[]]).connect)

    with pytest.raises(UsageError, match="cannot record to"):
        asyncio.run(host.start())
    assert not lake.exists()


def test_after_a_stop_the_name_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        Watching(lake=tmp_path, scripts=[playing(Camera().frames(range(25)))]).until(5)

    assert len(sessions_of(tmp_path)) == 2
    assert outer_gaps(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("is_back", [True, False], ids=["the-camera-is-back", "the-camera-stays-away"])
def test_what_a_kill_lost_is_told_once(tmp_path: Path, is_back: bool) -> None:
    """A killed process leaves its lease and its journal: here they are those of a writer that is not closed."""
    camera = Camera(starts_at=time.time() - 10)
    killed_after(tmp_path, frames=camera.frames(range(50)))
    back = Camera()
    watching = Watching(lake=tmp_path, scripts=[playing(back.frames(range(25)))] if is_back else [])
    watching.until(5 if is_back else "reconnecting")
    first = sessions_of(tmp_path)[0]
    [gap] = outer_gaps(tmp_path)

    assert account(tmp_path, first) == {"row": 10}
    assert (gap.reason, gap.video_id) == (GapReason.DISCONNECTED, first.video_id)
    assert gap.captured_from == first.started_at + timedelta(seconds=2)
    assert gap.num_slots == num_slots(gap) >= 30


def killed_after(lake: Path, *, frames: Iterable[Frame]) -> None:
    """A stream whose process is killed once ten of these frames are committed."""
    program = f"""
import asyncio, pickle, os, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_stream_host import killed_when_committed
asyncio.run(killed_when_committed(Path({str(lake)!r}), pickle.load(sys.stdin.buffer)))
"""
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(list(frames)), check=False)
    assert done.returncode == -9


async def killed_when_committed(lake: Path, frames: list[Frame]) -> None:
    host = StreamHost(spec(), ADDRESS, settings(lake, Model()), connect=Source([playing(frames)]).connect)
    await host.start()
    while [len(rows_of(lake, session)) for session in sessions_of(lake)] != [10]:
        await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


def test_where_files_are_wanted_more_often_than_commits_each_commit_makes_one(tmp_path: Path) -> None:
    """So what is not in a file yet is never more than a commit."""

    async def run() -> list[int]:
        source = Source([playing(Camera().frames(range(25)))])
        how = replace(settings(tmp_path, Model()), commit_s=0.5, publish_s=0.4)
        host = StreamHost(spec(), ADDRESS, how, connect=source.connect)
        await host.start()
        try:
            while not (tmp_path / "features").exists() or not list((tmp_path / "features").glob("*.parquet")):
                await asyncio.sleep(0.05)
            return [sum(entry.rows[FEATURES].num_rows for entry in LiveLake.at(str(tmp_path)).unpublished(FEATURES))]
        finally:
            await host.stop()

    assert asyncio.run(run()) == [0]
