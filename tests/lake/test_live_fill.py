"""What was dropped becomes rows: each slot once, beside the streams, and the gap says so."""

import itertools
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from live_lakes import (
    BEGAN,
    KILLED_AT,
    batch,
    dropped,
    features_of,
    fill,
    mark,
    session,
    slots_of,
    status_of,
    table,
    writer,
)
from other_runs import forks

from pipeline.errors import UsageError
from pipeline.lake.comparison.diff import Diff
from pipeline.lake.dataset import Dataset
from pipeline.lake.live import readers
from pipeline.lake.live.fill import LiveFill
from pipeline.records.streams import Session


def watched(folder: Path | str) -> Session:
    """A session of twelve slots, of which 2 to 7 were dropped."""
    first = session()
    with writer(folder) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 12, missing=(2, 8)))
        stream.end(ended_at=first.started_at + timedelta(seconds=12))
    return first


def test_a_filled_slot_is_a_row_and_its_gap_says_so(place: str) -> None:
    first = watched(place)
    assert readers.sessions(place)[0].status == "partial"
    fill(place, first, range(12))
    assert slots_of(place, first) == dict.fromkeys(range(12), "row")
    assert [(each.gap.num_slots, each.is_filled) for each in readers.gaps(place)] == [(6, True)]
    [stored] = readers.sessions(place)
    assert (stored.status, stored.num_samples) == ("ok", 12)


def test_rows_are_those_of_the_slots(tmp_path: Path) -> None:
    first = watched(tmp_path)
    fill(tmp_path, first, range(12))
    rows = sorted(table(tmp_path, "features").to_pylist(), key=lambda row: row["pts"])
    assert [row["feature"] for row in rows] == [features_of(first, slot) for slot in range(12)]
    assert [row["captured_at"] for row in rows] == [BEGAN + timedelta(seconds=slot) for slot in range(12)]
    assert table(tmp_path, "gaps")["filled"].to_pylist() == [True]


def test_gaps_of_a_slot_each_are_filled_by_one_file(tmp_path: Path) -> None:
    """A model that is busy drops every second slot: a file for each would be thousands a day."""
    first, slots = session(), range(1, 12, 2)
    with writer(tmp_path) as stream:
        stream.begin(first)
        for slot in range(12):
            stream.commit(batch(first, slot, slot + 1, missing=(slot, slot + 1) if slot in slots else None))
        stream.end(ended_at=first.started_at + timedelta(seconds=12))
    num_files = len(Dataset.at(str(tmp_path)).features.names())

    with LiveFill(str(tmp_path)) as filling:
        vectors = np.array([features_of(first, slot) for slot in slots], np.float32)
        filling.commit(dropped(tmp_path), tuple(map(mark, slots)), vectors)

    assert len(Dataset.at(str(tmp_path)).features.names()) == num_files + 1
    assert slots_of(tmp_path, first) == dict.fromkeys(range(12), "row")
    rows = sorted(table(tmp_path, "features").to_pylist(), key=lambda row: row["pts"])
    assert [row["feature"] for row in rows] == [features_of(first, slot) for slot in range(12)]
    assert [row["captured_at"] for row in rows] == [BEGAN + timedelta(seconds=slot) for slot in range(12)]


def test_what_stays_missing_stays_a_gap(tmp_path: Path) -> None:
    first = watched(tmp_path)
    fill(tmp_path, first, range(4, 6))
    pieces = readers.gaps(str(tmp_path))
    assert [(each.gap.start_s, each.gap.start_pts, each.gap.num_slots, each.is_filled) for each in pieces] == [
        (2.0, 7000, 2, False),
        (4.0, 9000, 2, True),
        (6.0, 11000, 2, False),
    ]
    assert status_of(tmp_path, first) == "partial"
    fill(tmp_path, first, range(12))
    assert slots_of(tmp_path, first) == dict.fromkeys(range(12), "row")
    assert status_of(tmp_path, first) == "ok"


def test_a_second_fill_changes_nothing(tmp_path: Path) -> None:
    first = watched(tmp_path)
    [before] = dropped(tmp_path)
    fill(tmp_path, first, range(12))
    there = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.parquet"))
    with LiveFill(str(tmp_path)) as filling:
        filling.commit([before], (mark(3),), np.array([features_of(first, 3)], np.float32))
    assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.parquet")) == there


def test_a_slot_outside_the_gap_is_refused(tmp_path: Path) -> None:
    first = watched(tmp_path)
    [missing] = dropped(tmp_path)
    with LiveFill(str(tmp_path)) as filling, pytest.raises(ValueError, match="do not fill gaps"):
        filling.commit([missing], (mark(8),), np.array([features_of(first, 8)], np.float32))


def test_there_is_one_fill_at_a_time_and_streams_go_on_beside_it(tmp_path: Path) -> None:
    first = watched(tmp_path)
    with writer(tmp_path) as stream:
        stream.begin(session(1))
        with LiveFill(str(tmp_path)), pytest.raises(UsageError, match=r"in use by another run .fill, process"):
            LiveFill(str(tmp_path))
        stream.commit(batch(session(1), 0, 12, missing=(3, 5)))
        stream._publish()
        fill(tmp_path, first, range(12))
        assert status_of(tmp_path, session(1)) == "live"
        fill(tmp_path, session(1), range(12))
        stream.end(ended_at=session(1).started_at + timedelta(seconds=12))
    assert {status_of(tmp_path, session(at)) for at in range(2)} == {"ok"}
    assert [stored.num_samples for stored in readers.sessions(str(tmp_path))] == [12, 12]


IMPORTS = "from live_lakes import fill, session"
FILLING = f"""
{KILLED_AT}
{IMPORTS}
fill(sys.argv[1], session(), range(12))
"""


def test_killed_at_any_moment_a_slot_is_filled_once(tmp_path: Path) -> None:
    first = watched(tmp_path)
    with forks(IMPORTS) as started:
        for at in itertools.count(1, 3):
            killed, _ = started.run(FILLING, tmp_path, at)
            slots = slots_of(tmp_path, first)
            assert list(slots) == list(range(12))
            if not killed:
                break
            assert killed == -9
    assert at > 10
    assert set(slots.values()) == {"row"}
    assert len(table(tmp_path, "features")) == 12
    assert status_of(tmp_path, first) == "ok"


@pytest.mark.parametrize("piece_bytes", [1, 150, 1 << 20], ids=["a row", "some", "all"])
def test_filled_rows_are_compared_where_they_belong(tmp_path: Path, piece_bytes: int) -> None:
    """They lie behind all others, in files of their own, and are shown in their midst."""
    first = watched(tmp_path / "filled")
    fill(tmp_path / "filled", first, range(2, 7))
    with writer(tmp_path / "whole") as stream:
        stream.begin(first)
        for begin in range(0, 12, 3):
            stream.commit(batch(first, begin, begin + 3))
            stream._publish()
        stream.end(ended_at=first.started_at + timedelta(seconds=12))
    found = Diff(str(tmp_path / "filled"), str(tmp_path / "whole"), piece_bytes=piece_bytes)
    [video] = found.videos()
    assert (video.compared.num_rows, video.compared.only_a, video.compared.only_b) == (11, 0, 1)
    assert video.compared.largest_difference == 0
