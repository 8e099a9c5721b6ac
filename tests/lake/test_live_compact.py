"""A lake with streams in large files: what was published is the same to every reader, and streams may go on there."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from live_lakes import batch, fill, moment, session, slots_of, table, writer
from rows import FACTS, dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.errors import UsageError
from pipeline.lake.compaction.compact import run_compact
from pipeline.lake.dataset import CONFIG
from pipeline.lake.live import readers
from pipeline.lake.planned import publish_plan
from pipeline.lake.tables import derive, read_status
from pipeline.records.shards import WHOLE


def watched(folder: Path, *, numbers: range = range(3), name: str = "gate") -> None:
    with writer(folder, stream=name) as stream:
        for number in numbers:
            of = session(number, stream=name)
            stream.begin(of)
            for first in range(0, 12, 4):
                stream.commit(batch(of, first, first + 4, missing=(first, first + 2)))
                stream._publish()
            stream.end(ended_at=moment(of, 12))


def told(folder: Path) -> object:
    """All that readers tell of streams."""
    uri = str(folder)
    rows = [row for part in readers.rows(uri) for row in part.drop_columns(["segment"]).to_pylist()]
    return (
        readers.sessions(uri),
        readers.gaps(uri),
        list(readers.events(uri)),
        list(readers.tracks(uri)),
        sorted(rows, key=lambda row: (row["video_id"], row["pts"])),
    )


def compacted(source: Path, target: Path) -> None:
    run_compact(str(source), str(target), file_bytes=1 << 20, say=lambda _: None)


def test_readers_tell_the_same_of_large_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    watched(old)
    watched(old, name="door")
    fill(old, session(1), range(12))
    compacted(old, new)
    assert told(new) == told(old)
    door, gate = read_status(str(new)).streams
    assert (door.missing_slots, gate.missing_slots) == ({"dropped": 18}, {"dropped": 12})
    for name in ("features", "gaps", "events", "tracks"):
        assert len(list((new / name).glob("*.parquet"))) == 1 < len(list((old / name).glob("*.parquet")))


def test_a_later_run_adds_what_came_since(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    watched(old, numbers=range(1))
    compacted(old, new)
    watched(old, numbers=range(1, 2))
    compacted(old, new)
    assert told(new) == told(old)


def test_what_is_not_published_yet_is_left_for_a_later_run(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    of = session()
    with writer(old) as stream:
        stream.begin(of)
        stream.commit(batch(of, 0, 4))
        stream._publish()
        stream.commit(batch(of, 4, 8))
        compacted(old, new)
        assert slots_of(new, of) == dict.fromkeys(range(4), "row")
        assert [stored.status for stored in readers.sessions(str(new))] == ["partial"]
        stream.end(ended_at=moment(of, 8))
    compacted(old, new)
    assert slots_of(new, of) == dict.fromkeys(range(8), "row")
    assert told(new) == told(old)


def test_a_copy_is_filled_and_streams_go_on_in_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    watched(old)
    compacted(old, new)
    fill(new, session(0), range(12))
    assert slots_of(new, session(0)) == dict.fromkeys(range(12), "row")
    assert [stored.status for stored in readers.sessions(str(new))] == ["ok", "partial", "partial"]
    watched(new, numbers=range(3, 4))
    assert [stored.num_samples for stored in readers.sessions(str(new))] == [12, 6, 6, 6]


def earlier(folder: Path, creation_time: str | None) -> None:
    """A dataset of a version whose features say nothing of when they were captured."""
    dataset, token = new_dataset(folder)
    document = dict(json.loads(dataset.store.read(CONFIG)))
    del document["captured_at"]
    dataset.store.publish(CONFIG, json.dumps(document).encode(), overwrite=True)
    row = planned("a", segments=2)
    row["facts"] = {**FACTS.to_json(), "creation_time": creation_time}
    publish_plan(dataset, plan_table(row), token=token)
    rows = pa.concat_tables([finished("a", 0), finished("a", 1)])
    dataset.publish_features(rows, dataset.create(dataset_info()), token=token)
    derive(dataset, shard=WHOLE, token=token)


def test_a_dataset_of_an_earlier_version_gets_captured_at_and_then_takes_streams(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    earlier(old, "2026-11-26T08:00:00.5Z")
    with pytest.raises(UsageError, match="earlier version"):
        writer(old)
    compacted(old, new)
    began = datetime(2026, 11, 26, 8, 0, 0, 500_000, tzinfo=UTC)
    rows = table(new, "features").to_pylist()
    assert [row["captured_at"] - began for row in rows] == [timedelta(seconds=row["time_s"]) for row in rows]
    watched(new, numbers=range(1))
    assert len(table(new, "features")) == 4 + 6
    assert set(table(new, "features")["video_id"].to_pylist()) == {id_of("a"), session().video_id}


def test_where_a_file_does_not_say_when_it_was_recorded_nothing_does(tmp_path: Path) -> None:
    earlier(tmp_path / "old", None)
    compacted(tmp_path / "old", tmp_path / "new")
    assert table(tmp_path / "new", "features")["captured_at"].to_pylist() == [None] * 4
