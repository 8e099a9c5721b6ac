"""Drop now, fill later: exactly the dropped slots, as the batch decodes them, each once, whatever dies."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from command import vidlake as command
from numpy.typing import NDArray
from patience import PATIENCE_S
from recorded_lakes import RATE_HZ, Watched, begun, info, recorded, watch
from recordings import parts_of, record
from videos import remuxed, video_bytes

from pipeline.cameras.recordings.files import RecordingFiles
from pipeline.cameras.recordings.fill import Filling, fill
from pipeline.cameras.recordings.verify import verify
from pipeline.cameras.recordings.writer import RecordingWriter
from pipeline.errors import UsageError
from pipeline.lake.live import readers
from pipeline.lake.live.fill import LiveFill
from pipeline.records.streams import GapReason

STREAM = remuxed(video_bytes(num_frames=96), kind="mpegts")
DROPPED = (0, 1, 4, 6, 8, 9, 10, 11, 15, 19)
"""Of 20 slots: alone, in a row, at both ends, and across the cuts of the recordings (4.8, 9.6 and 14.4)."""


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched.of(STREAM)


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "rec")


def rows(lake: str) -> dict[int, NDArray[np.float32]]:
    """A lake's rows by pts, as readers without code of ours see them."""
    table = pads.dataset(f"{lake}/features", format="parquet").to_table()
    found = dict(zip(table["pts"].to_pylist(), np.array(table["feature"].to_pylist(), np.float32), strict=True))
    assert len(found) == len(table)
    return found


def assert_rows(lake: str, watched: Watched, slots: Mapping[int, object] | set[int]) -> None:
    """The rows are those of these slots, and equal the batch's."""
    found = rows(lake)
    assert found.keys() == {watched.samples[slot].mark.pts for slot in slots}
    for slot in slots:
        sample = watched.samples[slot]
        assert np.abs(found[sample.mark.pts] - sample.feature).max() <= 1e-5


def files(lake: str) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in Path(lake).rglob("*.parquet"))


def test_what_was_dropped_becomes_the_batchs_rows(watched: Watched, lake: str, place: str) -> None:
    watch(lake, watched, dropped=DROPPED, record_to=place)
    assert_rows(lake, watched, watched.samples.keys() - set(DROPPED))

    filling = fill(lake, info(), stream=None, is_gated=False)

    assert filling == Filling(num_missing=10, num_filled=10, num_unrecorded=0, num_failed=0)
    assert_rows(lake, watched, watched.samples)
    assert all(each.is_filled for each in readers.gaps(lake))
    table = pads.dataset(f"{lake}/features", format="parquet").to_table().sort_by("pts")
    start = watched.session.started_at
    times = [(at - start).total_seconds() for at in table["captured_at"].to_pylist()]
    assert times == [float(slot / RATE_HZ) for slot in sorted(watched.samples)]
    assert verify(lake, info(), stream=None).num_equal == 20


def test_a_second_fill_changes_nothing(watched: Watched, lake: str, place: str) -> None:
    watch(lake, watched, dropped=DROPPED, record_to=place)
    assert json.loads(command("fill", lake, "--json").stdout) == {
        "missing": 10,
        "filled": 10,
        "unrecorded": 0,
        "failed": 0,
    }
    before = files(lake)

    done = command("fill", lake)

    assert (done.returncode, done.stdout) == (0, "nothing to fill\n")
    assert files(lake) == before


def test_what_the_gate_held_back_is_filled_when_it_is_asked_for(watched: Watched, lake: str, place: str) -> None:
    watch(lake, watched, dropped=(2,), gated=(3, 4, 12), record_to=place)

    assert fill(lake, info(), stream=None, is_gated=False).num_filled == 1
    assert {each.gap.reason for each in readers.gaps(lake) if not each.is_filled} == {GapReason.GATED}
    assert fill(lake, info(), stream=None, is_gated=True).num_filled == 3
    assert_rows(lake, watched, watched.samples)


def test_streams_go_on_beside_a_fill_that_reads_closed_recordings_alone(
    watched: Watched, lake: str, place: str
) -> None:
    """The stream's session is live, and its last recording is being written."""
    missing = dict.fromkeys(DROPPED, GapReason.DROPPED)
    parts = parts_of(watched.data, longest_s=0.9)
    with begun(lake, watched, missing=missing) as stream:
        recording = RecordingWriter(place, watched.session, lake=lake)
        record(recording, parts)
        while len(RecordingFiles(place).closed("gate")) < 3:
            pass
        filling = fill(lake, info(), stream="gate", is_gated=False)
        assert (filling.num_filled, filling.num_unrecorded) == (8, 2)
        assert {each.status for each in readers.sessions(lake)} == {"live"}
        recording.close(timeout_s=60)
        stream.end(ended_at=watched.time_of(20))

    assert fill(lake, info(), stream="gate", is_gated=False).num_filled == 2
    assert_rows(lake, watched, watched.samples)


@pytest.mark.slow
def test_lakes_and_recordings_may_lie_in_buckets(watched: Watched, bucket_place: str) -> None:
    lake, place = f"{bucket_place}/lake", f"{bucket_place}/rec"
    watch(lake, watched, dropped=DROPPED, record_to=place)

    assert fill(lake, info(), stream=None, is_gated=False).num_filled == 10
    assert fill(lake, info(), stream=None, is_gated=False).num_missing == 0
    verdict = verify(lake, info(), stream=None)
    assert verdict.holds
    assert verdict.num_equal == 20


def test_there_is_one_fill_at_a_time(watched: Watched, lake: str, place: str) -> None:
    watch(lake, watched, dropped=DROPPED, record_to=place)

    with LiveFill(lake), pytest.raises(UsageError, match="fill"):
        fill(lake, info(), stream=None, is_gated=False)


DYING = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
from recorded_lakes import info
from pipeline.cameras.recordings.fill import fill
from pipeline.lake.live.fill import LiveFill
commit, left = LiveFill.commit, int(sys.argv[2])
def dying(self, *rows):
    global left
    commit(self, *rows)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
LiveFill.commit = dying
fill(sys.argv[1], info(), stream=None, is_gated=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("num_commits", [1, 3])
def test_a_killed_fill_costs_nothing_and_doubles_nothing(
    watched: Watched, lake: str, place: str, num_commits: int
) -> None:
    watch(lake, watched, dropped=DROPPED, record_to=place)
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

    done = subprocess.run(
        [sys.executable, "-c", DYING, lake, str(num_commits), *folders], check=False, timeout=PATIENCE_S
    )

    assert done.returncode == -signal.SIGKILL
    num_rows = len(rows(lake))
    assert num_rows > 10
    assert fill(lake, info(), stream=None, is_gated=False).num_filled == 20 - num_rows
    assert_rows(lake, watched, watched.samples)
    assert all(each.is_filled for each in readers.gaps(lake))


def test_slots_whose_recording_is_gone_or_broken_stay_gaps(watched: Watched, lake: str, place: str) -> None:
    """No other frame stands in: slot 9 begins in the second file, which is broken, and has frames in the third."""
    watch(lake, watched, dropped=DROPPED, record_to=place)
    first, second, *_ = RecordingFiles(place).closed("gate")
    Path(first.uri).unlink()
    Path(second.uri).write_bytes(b"no video")

    filling = fill(lake, info(), stream=None, is_gated=False)

    left = {round(Fraction(each.gap.start_s or 0) * RATE_HZ) for each in readers.gaps(lake) if not each.is_filled}
    assert left == {0, 4, 6, 8}  # where gaps begin
    assert filling.num_missing == 10
    assert filling.num_filled == 4
    assert filling.num_failed + filling.num_unrecorded == 6
    assert filling.num_failed >= 3
    assert_rows(lake, watched, watched.samples.keys() - {0, 1, 4, 6, 8, 9})


def test_a_stream_that_was_not_recorded_has_nothing_to_fill_from(watched: Watched, lake: str, place: str) -> None:
    watch(lake, watched, dropped=(3,), record_to=None)

    assert fill(lake, info(), stream=None, is_gated=False) == Filling(
        num_missing=1, num_filled=0, num_unrecorded=1, num_failed=0
    )
    recorded(lake, watched, to=place)
    assert fill(lake, info(), stream=None, is_gated=False).num_filled == 1


def test_no_lake_is_a_usage_error(tmp_path: Path) -> None:
    done = command("fill", tmp_path / "nothing")

    assert done.returncode == 2
    assert "no dataset at" in done.stderr
