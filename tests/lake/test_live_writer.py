"""A stream's rows: each there once, whatever is killed and when; nothing lost but what was never committed."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from live_lakes import (
    BEGAN,
    batch,
    event,
    features_of,
    fill,
    gap,
    killed,
    session,
    slots_of,
    status_of,
    table,
    track_point,
    writer,
)
from rows import config, dataset_info, finished, new_dataset, plan_table, planned

from pipeline.cli.summary import describe_status
from pipeline.errors import UsageError
from pipeline.lake.dataset import CONFIG, Dataset, DatasetInfo
from pipeline.lake.dataset_videos import VideosOfDataset
from pipeline.lake.ledger import Ledger
from pipeline.lake.live import readers
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.writer import LiveWriter
from pipeline.lake.pending_frames import PendingFrames
from pipeline.lake.planned import publish_plan
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.tables import derive, read_status
from pipeline.records.periods import Period
from pipeline.records.shards import WHOLE
from pipeline.records.streams import GapReason


def test_what_is_committed_is_read_at_once_and_what_is_published_by_anybody(place: str) -> None:
    first = session()
    with writer(place) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 5, missing=(2, 4)))
        assert slots_of(place, first) == {0: "row", 1: "row", 2: "dropped", 3: "dropped", 4: "row"}
        assert list(readers.events(place)) == [event(first, 0)]
        assert list(readers.tracks(place)) == [track_point(first, 0)]
        assert Dataset.at(place).features.names() == []
        stream.commit(batch(first, 5, 8))
        stream.end(ended_at=first.started_at + timedelta(seconds=8))
        assert len(Dataset.at(place).features.names()) == 1
    assert [name for name in slots_of(place, first).values()].count("row") == 6
    assert list(readers.events(place)) == [event(first, 0), event(first, 5)]
    assert Dataset.at(place).store.list("_vidlake/live/gate") == []


def test_rows_are_those_that_came(tmp_path: Path) -> None:
    first = session()
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 3))
        stream.commit(batch(first, 3, 4))
        stream.end(ended_at=first.started_at + timedelta(seconds=4))
    rows = table(tmp_path, "features").to_pylist()
    assert [row["feature"] for row in rows] == [features_of(first, slot) for slot in range(4)]
    assert [(row["pts"], row["time_base"], row["uri"]) for row in rows] == [
        (5000 + slot * 1000, "1/1000", first.uri) for slot in range(4)
    ]
    assert [row["captured_at"] for row in rows] == [BEGAN + timedelta(seconds=slot) for slot in range(4)]
    [video] = table(tmp_path, "videos").to_pylist()
    assert (video["stream"], video["status"], video["num_samples"]) == ("gate", "ok", 4)
    assert (video["captured_from"], video["captured_to"]) == (BEGAN, BEGAN + timedelta(seconds=4))
    [crossed, _] = table(tmp_path, "events").to_pylist()
    assert crossed["box"] == {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4}
    assert json.loads(crossed["value"]) == {"of": 0}


def test_a_footer_names_the_entries_that_its_file_publishes(tmp_path: Path) -> None:
    first = session()
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 5, missing=(2, 4)))
        stream.end(ended_at=first.started_at + timedelta(seconds=5))
    for name in ("features", "gaps", "events", "tracks"):
        [path] = (tmp_path / name).glob("*.parquet")
        footer = json.loads(pq.read_metadata(path).metadata[b"vidlake.live"])
        assert (footer["stream"], footer["last"]) == ("gate", 2)


def test_due_is_also_what_will_be_older_before_anybody_asks_again(tmp_path: Path) -> None:
    """Else a kill between two commits would leave what is long due in the journal."""
    with writer(tmp_path, publish_s=2.0) as stream:
        stream.begin(session())
        stream.commit(batch(session(), 0, 2))
        stream.publish_due(again_in_s=1.0)
        assert not (tmp_path / "features").exists()
        stream.publish_due(again_in_s=3.0)
        assert len(table(tmp_path, "features")) == 2


def test_due_is_what_is_older_than_publish_seconds(tmp_path: Path) -> None:
    first = session()
    with writer(tmp_path, publish_s=0.0) as eager, writer(tmp_path, stream="door") as patient:
        for stream, name in ((eager, "gate"), (patient, "door")):
            stream.begin(session(stream=name))
            stream.commit(batch(session(stream=name), 0, 2))
            stream.publish_due()
        assert {row["video_id"] for row in table(tmp_path, "features").to_pylist()} == {first.video_id}
        assert status_of(tmp_path, first) == "live"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        pytest.param(None, "ok", id="nothing-is-missing"),
        pytest.param(GapReason.GATED, "ok", id="nothing-moved"),
        pytest.param(GapReason.DROPPED, "partial", id="dropped"),
        pytest.param(GapReason.CORRUPT, "partial", id="no-sound-frame"),
    ],
)
def test_an_ended_session_is_whole_or_not(tmp_path: Path, reason: GapReason | None, status: str) -> None:
    first = session()
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 3))
        if reason is not None:
            stream.commit(LiveBatch(gaps=(gap(first, 3, 5, reason=reason),)))
        stream.end(ended_at=first.started_at + timedelta(seconds=5))
    assert status_of(tmp_path, first) == status


def test_what_lies_between_sessions_is_of_none(tmp_path: Path) -> None:
    first, second = session(), session(1)
    away = gap(first, 3, 100, reason=GapReason.STALLED, is_inside=False)
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 3))
        stream.end(ended_at=first.started_at + timedelta(seconds=3))
        stream.begin(second)
        stream.commit(LiveBatch(gaps=(away,)))
        stream.end(ended_at=second.started_at)
    assert [each.gap for each in readers.gaps(str(tmp_path))] == [away]
    assert {status_of(tmp_path, first), status_of(tmp_path, second)} == {"ok"}


# -- kills


def test_after_a_stop_in_order_nothing_is_missing(tmp_path: Path) -> None:
    for number in range(2):
        with writer(tmp_path) as stream:
            stream.begin(session(number))
            stream.commit(batch(session(number), 0, 3))
            stream.end(ended_at=session(number).started_at + timedelta(seconds=3))
    assert readers.gaps(str(tmp_path)) == []


# -- beside others


def test_a_stream_has_one_writer(place: str) -> None:
    with writer(place):
        for again in (lambda: writer(place), lambda: LiveWriter.check(place, info=dataset_info(), streams=["gate"])):
            with pytest.raises(UsageError, match=r"in use by another run .stream gate, process .* another name"):
                again()


def test_a_writer_that_was_taken_over_journals_nothing(tmp_path: Path) -> None:
    stale = writer(tmp_path)
    stale.begin(session())
    (tmp_path / "_vidlake/leases/stream:gate.json").unlink()
    with writer(tmp_path):
        with pytest.raises(LeaseLost):
            stale.commit(batch(session(), 0, 3))
        assert slots_of(tmp_path, session()) == {}


def test_a_batch_runs_tables_leave_a_session_alone(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    with writer(tmp_path) as stream:
        stream.begin(session())
        stream.commit(batch(session(), 0, 3))
        publish_plan(dataset, plan_table(planned("a")), token=token)
        dataset.publish_features(finished("a"), dataset_info(), token=token)
        totals = derive(dataset, shard=WHOLE, token=token)
        assert (totals.videos["ok"], totals.num_pending) == (1, 0)
        assert status_of(tmp_path, session()) == "live"
        stream.end(ended_at=session().started_at + timedelta(seconds=3))
    derive(dataset, shard=WHOLE, token=token)
    assert status_of(tmp_path, session()) == "ok"
    assert [row["is_current"] for row in table(tmp_path, "videos").to_pylist()] == [True, True]
    assert len(table(tmp_path, "features")) == 5


def test_readers_without_our_code_see_sessions_beside_videos_of_a_manifest(tmp_path: Path) -> None:
    import polars as pl

    dataset, token = new_dataset(tmp_path)
    publish_plan(dataset, plan_table(planned("a", camera="north")), token=token)
    dataset.publish_features(finished("a"), dataset_info(), token=token)
    derive(dataset, shard=WHOLE, token=token)
    with writer(tmp_path) as stream:
        stream.begin(session())
        stream.commit(batch(session(), 0, 3, missing=(1, 2)))
        stream.end(ended_at=session().started_at + timedelta(seconds=3))
    query = f"select camera, stream, status from '{tmp_path}/videos/*.parquet' order by stream nulls first"
    assert duckdb.connect().execute(query).fetchall() == [("north", None, "ok"), (None, "gate", "partial")]
    for name in ("features", "gaps", "events", "tracks"):
        count = f"select count(*) from '{tmp_path}/{name}/*.parquet'"
        assert duckdb.connect().execute(count).fetchall()[0][0] == len(pl.read_parquet(f"{tmp_path}/{name}/*.parquet"))


def test_a_period_chooses_segments_by_when_they_were_captured(tmp_path: Path) -> None:
    """By the wall clock of their rows, from which the stream's own time may stray."""
    first, late = session(), timedelta(seconds=500)
    with writer(tmp_path) as stream:
        stream.begin(first)
        for begin in (0, 3, 6):
            rows = batch(first, begin, begin + 3)
            stream.commit(replace(rows, captured_at=tuple(each + late for each in rows.captured_at)))
            stream._publish()
        stream.end(ended_at=first.started_at + late + timedelta(seconds=9))
    dataset = Dataset.at(str(tmp_path))
    videos, none = VideosOfDataset.of(dataset), Ledger.of(())
    for since, until, num_frames in ((503, 506, 3), (502, 504, 6), (0, 500, 0), (508, 1000, 3)):
        bounds = [(BEGAN + timedelta(seconds=at)).timestamp() for at in (since, until)]
        pending = PendingFrames(dataset, videos, none, period=Period(begin_s=bounds[0], end_s=bounds[1]))
        assert pending.num_frames == num_frames


def test_whoever_derives_tables_closes_what_was_killed(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    killed(tmp_path, session())
    assert status_of(tmp_path, session()) == "live"
    with writer(tmp_path, stream="door") as living:
        living.begin(session(stream="door"))
        derive(dataset, shard=WHOLE, token=token)
        assert status_of(tmp_path, session(stream="door")) == "live"
    assert status_of(tmp_path, session()) == "ok"
    assert len(table(tmp_path, "features")) == 3
    with writer(tmp_path) as stream:
        stream.begin(session(1))
        stream.end(ended_at=session(1).started_at)
    assert [each.gap.num_slots for each in readers.gaps(str(tmp_path))] == [97]


@pytest.mark.parametrize(
    ("info", "what"),
    [
        pytest.param(DatasetInfo(config=config(model="other"), weights="random:0"), "--model is tiny", id="a-model"),
        pytest.param(DatasetInfo(config=config(sample="fps:2"), weights="random:0"), "--sample is fps:1", id="a-rate"),
        pytest.param(DatasetInfo(config=config(sample="all"), weights="random:0"), "sampled by fps:R", id="no-slots"),
    ],
)
def test_another_configuration_is_refused_and_touches_nothing(tmp_path: Path, info: DatasetInfo, what: str) -> None:
    dataset, _ = new_dataset(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=what):
        LiveWriter(str(tmp_path), info=info, stream="gate", uri_of_source="x", publish_s=1)
    assert sorted(tmp_path.rglob("*")) == before
    assert dataset.info() == dataset_info()


def test_a_lake_of_an_earlier_version_takes_no_stream_and_the_advice_is_what_helps(tmp_path: Path) -> None:
    dataset, _ = new_dataset(tmp_path)
    document = dict(json.loads(dataset.store.read(CONFIG)))
    del document["captured_at"]
    dataset.store.publish(CONFIG, json.dumps(document).encode(), overwrite=True)
    with pytest.raises(UsageError, match=r"earlier version.*vidlake compact"):
        writer(tmp_path)


def test_features_of_another_length_are_refused(tmp_path: Path) -> None:
    with writer(tmp_path) as stream:
        stream.begin(session())
        wrong = batch(session(), 0, 1)
        wrong = LiveBatch(marks=wrong.marks, captured_at=wrong.captured_at, features=np.zeros((1, 7), np.float32))
        with pytest.raises(ValueError, match="not 1 features of 4 values"):
            stream.commit(wrong)
        stream.end(ended_at=session().started_at)


def test_status_tells_of_streams(tmp_path: Path) -> None:
    """Journal and files as one, and what is filled is missing no more."""
    with writer(tmp_path) as stream:
        stream.begin(session())
        stream.commit(batch(session(), 0, 5, missing=(2, 4)))
        stream._publish()
        stream.commit(batch(session(), 5, 8, missing=(5, 6)))
        [gate] = read_status(str(tmp_path)).streams
        assert (gate.name, gate.sessions, gate.num_samples) == ("gate", {"live": 1, "ok": 0, "partial": 0}, 5)
        assert (gate.missing_slots, gate.num_filled) == ({"dropped": 3}, 0)
        assert (gate.captured_from, gate.captured_to) == (BEGAN, BEGAN + timedelta(seconds=8))
        assert read_status(str(tmp_path)).side_tables["events"].num_rows == 2
        stream.end(ended_at=session().started_at + timedelta(seconds=8))
    fill(tmp_path, session(), range(3))
    status = read_status(str(tmp_path))
    [gate] = status.streams
    assert (gate.sessions["partial"], gate.num_samples) == (1, 6)
    assert (gate.missing_slots, gate.num_filled) == ({"dropped": 2}, 1)
    assert "gate" in json.dumps(status.to_json())
    assert "stream gate: 1 sessions (1 partial), 6 samples" in describe_status("lake", status)
