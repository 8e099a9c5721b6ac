"""A stream's rows after a kill or a store that fails: what was committed is there once, and the rest is told of."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live_lakes import (
    BEGAN,
    KILLED_AT,
    batch,
    killed,
    killed_after,
    session,
    slots_of,
    status_of,
    table,
    writer,
)
from other_runs import forks

from pipeline.errors import StorageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.live import readers
from pipeline.lake.publishing.folder_lease import FolderFence
from pipeline.records.streams import GapReason, Session

IMPORTS = """
from datetime import timedelta
from live_lakes import batch, session, writer
"""
SESSIONS = f"""
{KILLED_AT}
{IMPORTS}
number = int(sys.argv[3])
stream = writer(sys.argv[1])
of = session(number)
stream.begin(of)
print("begun", number, flush=True)
for first in range(0, 12, 3):
    stream.commit(batch(of, first, first + 3, missing=(first, first + 1)))
    print("told", first + 3, flush=True)
    if first == 3:
        stream._publish()
stream.end(ended_at=of.started_at + timedelta(seconds=12))
stream.close()
"""


def killed_sessions(folder: Path | str, *, step: int) -> dict[int, int]:
    """Sessions that are killed, each at a later moment, and one that is not: how many slots of each were committed."""
    committed = {}
    with forks(IMPORTS) as started:
        for number, at in enumerate(itertools.count(1, step)):
            killed, lines = started.run(SESSIONS, folder, at, number)
            words = [line.split() for line in lines]
            if ["begun", str(number)] in words:
                committed[number] = max([int(end) for word, end in words if word == "told"], default=0)
            if not killed:
                return committed
            assert killed == -9
    raise AssertionError


def told_once(place: Path | str, committed: dict[int, int]) -> None:
    """What was committed is there once, and every moment from the first session on is told of once."""
    for number, count in committed.items():
        slots = slots_of(place, session(number))
        assert list(slots) == list(range(len(slots)))
        assert len(slots) in (count, count + 3)  # one may be on its way when it is killed
    sessions = readers.sessions(str(place))
    assert "live" not in [stored.status for stored in sessions]
    away = [each.gap for each in readers.gaps(str(place)) if each.gap.start_s is None]
    spans = [(each.captured_from, each.captured_to) for each in away]
    spans += [(each.captured_from, each.captured_to) for each in sessions]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(sorted(spans)))


@pytest.mark.slow
def test_killed_in_a_bucket_what_was_committed_is_there_once(bucket_place: str) -> None:
    told_once(bucket_place, killed_sessions(bucket_place, step=17))


@pytest.mark.slow
def test_killed_at_any_moment_what_was_committed_is_there_once(tmp_path: Path) -> None:
    committed = killed_sessions(tmp_path, step=5)
    assert len(committed) > 6
    told_once(tmp_path, committed)
    keys = [(row["video_id"], row["epoch"], row["pts"]) for row in table(tmp_path, "features").to_pylist()]
    assert len(set(keys)) == len(keys)
    for name in ("events", "tracks"):
        told = [(row["video_id"], row["pts"]) for row in table(tmp_path, name).to_pylist()]
        assert len(set(told)) == len(told) == sum(-(-len(slots_of(tmp_path, session(at))) // 3) for at in committed)


def test_after_a_kill_the_time_until_the_next_session_is_disconnected(tmp_path: Path) -> None:
    first, second = session(), session(1)
    killed(tmp_path, first)
    followed_by(tmp_path, second)
    [lost] = [each.gap for each in readers.gaps(str(tmp_path)) if each.gap.start_s is None]
    assert (lost.video_id, lost.reason, lost.num_slots) == (first.video_id, GapReason.DISCONNECTED, 97)
    assert (lost.captured_from, lost.captured_to) == (BEGAN + timedelta(seconds=3), second.started_at)
    assert status_of(tmp_path, first) == "ok"


def test_killed_before_its_first_session_a_stream_misses_all_since_it_was_started(tmp_path: Path) -> None:
    started = datetime.now(UTC)
    killed_after(tmp_path)
    killed_after(tmp_path)
    followed_by(tmp_path, later(started))
    [lost] = [each.gap for each in readers.gaps(str(tmp_path))]
    assert (lost.video_id, lost.reason) == (None, GapReason.DISCONNECTED)
    assert started < lost.captured_from < started + timedelta(seconds=50)
    assert lost.captured_to == later(started).started_at


def test_killed_as_it_tells_what_a_kill_has_lost_a_stream_tells_it_once(tmp_path: Path) -> None:
    started = datetime.now(UTC)
    killed_after(tmp_path)
    killed_after(
        tmp_path, "stream._write(LiveBatch(gaps=(stream._gap_until(datetime.now(UTC) + timedelta(seconds=50)),)))"
    )
    followed_by(tmp_path, later(started))
    first, second = [each.gap for each in readers.gaps(str(tmp_path))]
    assert first.captured_to == second.captured_from
    assert second.captured_to == later(started).started_at


def test_killed_before_its_first_session_a_stream_misses_nothing_of_when_it_was_stopped(tmp_path: Path) -> None:
    followed_by(tmp_path, session())
    started = datetime.now(UTC)
    killed_after(tmp_path)
    followed_by(tmp_path, later(started))
    [lost] = [each.gap for each in readers.gaps(str(tmp_path))]
    assert lost.video_id == session().video_id
    assert lost.captured_from > started


def followed_by(folder: Path, of: Session) -> None:
    """The stream is started again; this session begins, and ends at once."""
    with writer(folder) as stream:
        stream.begin(of)
        stream.end(ended_at=of.started_at)


def later(started: datetime) -> Session:
    """A session that begins a hundred seconds after this moment."""
    return replace(session(1), started_at=started + timedelta(seconds=100))


@pytest.mark.parametrize("note", [b"", b"{}", b"{"], ids=["empty", "of-an-earlier-version", "cut-short"])
def test_a_mark_that_names_nobody_keeps_no_stream_from_starting(tmp_path: Path, note: bytes) -> None:
    killed(tmp_path, session())
    (tmp_path / "_vidlake/live/gate/open.json").write_bytes(note)
    followed_by(tmp_path, session(1))
    assert [each.gap.num_slots for each in readers.gaps(str(tmp_path))] == [97]


@pytest.mark.parametrize("failing", ["tracks/", "events/", "gaps/", "features/", "videos/", "_vidlake/live/gate/"])
def test_a_store_that_fails_half_way_through_publishing_costs_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """What came meanwhile is published with what may be there already."""
    first = session()
    with writer(tmp_path, publish_s=0.0) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 4, missing=(1, 2)))
        with monkeypatch.context() as patch:
            patch.setattr(FolderFence, "publish", spoilt(FolderFence.publish, failing))
            patch.setattr(FolderFence, "replace", spoilt(FolderFence.replace, failing))
            patch.setattr(FolderFence, "remove", spoilt(FolderFence.remove, failing))
            with pytest.raises(StorageError, match="busy"):
                stream.publish_due()
        stream.commit(batch(first, 4, 8, missing=(5, 6)))
        stream.publish_due()
        assert [stored.num_samples for stored in readers.sessions(str(tmp_path))] == [6]
        stream.end(ended_at=first.started_at + timedelta(seconds=8))
    assert Dataset.at(str(tmp_path)).store.list("_vidlake/live/gate") == []
    assert list(slots_of(tmp_path, first)) == list(range(8))
    assert [len(table(tmp_path, name)) for name in ("features", "gaps", "events", "tracks")] == [6, 2, 2, 2]
    [stored] = readers.sessions(str(tmp_path))
    assert (stored.num_samples, stored.status) == (6, "partial")


def spoilt(real: Callable[..., object], failing: str) -> Callable[..., object]:
    def call(fence: object, name: str, *arguments: object, **options: object) -> object:
        done = real(fence, name, *arguments, **options)  # and its answer is lost
        if name.startswith(failing):
            raise StorageError("busy")
        return done

    return call
