"""One stream from its start to its stop: whatever the camera does, every slot is a row or in exactly one gap."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scripted_pullers import Camera, Source, ended
from scripted_streams import (
    ADDRESS,
    Model,
    Watching,
    account,
    num_slots,
    outer_gaps,
    playing,
    rows_of,
    sessions_of,
    settings,
    spec,
    states_of,
)

from pipeline.cameras.hosting.stream_host import StreamHost
from pipeline.cameras.pulling.pulled import Frame, Pulled
from pipeline.errors import UsageError
from pipeline.lake.live import readers
from pipeline.lake.live.view import LiveLake
from pipeline.records.streams import GapReason, MotionLevel, StreamState
from pipeline.records.tables import FEATURES


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
