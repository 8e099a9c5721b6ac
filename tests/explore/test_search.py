"""Search: every row is compared, moments are scenes, and nothing that is in the lake is missed."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from labelled_lakes import make_lake, open_lake
from live_lakes import batch, session, writer
from rows import DIM, dataset_info, finished, id_of, new_dataset, plan_table, planned, segment

from pipeline.errors import UsageError
from pipeline.explore.queries import SampleQuery, Scope, VectorQuery
from pipeline.explore.searcher import Searcher
from pipeline.lake.planned import publish_plan
from pipeline.lake.tables import derive
from pipeline.records.model_info import FeatureType
from pipeline.records.periods import Period
from pipeline.records.shards import WHOLE


def towards(*values: float) -> VectorQuery:
    """A picture whose feature this is, zeros after it."""
    return VectorQuery(vector=np.array([*values, *[0.0] * (DIM - len(values))], np.float32))


def scene(cosines: list[float]) -> np.ndarray:
    """Features of so many samples, each with this cosine to ``towards(1)``."""
    return np.array([[cosine, (1 - cosine**2) ** 0.5, 0, 0] for cosine in cosines], np.float32)


USUAL = [0.1] * 20
"""What most of a lake is like."""


@pytest.mark.parametrize("has_cache", [True, False], ids=["unpacked", "Parquet"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_row_is_compared(tmp_path: Path, dtype: FeatureType, has_cache: bool) -> None:
    dataset, token = new_dataset(tmp_path, dtype=dtype)
    for name in "abc":
        for index in range(2):
            dataset.publish_features(finished(name, index, num_samples=5), dataset_info(dtype=dtype), token=token)
    searcher = Searcher.at(str(tmp_path), has_cache=has_cache)
    searcher.unpack()
    query = towards(0.3, -0.2, 0.5, 1)
    found = searcher.search(query, top=12, by_rows=True)
    table = pads.dataset(tmp_path / "features", format="parquet").to_table()
    stored = np.array(table["feature"].to_pylist())
    cosines = stored @ query.vector / np.linalg.norm(stored, axis=1) / np.linalg.norm(query.vector)
    order = np.argsort(-cosines)[:12]
    assert found.num_scanned == len(table) == 30
    assert found.rows is not None
    assert [row.score for row in found.rows] == pytest.approx(cosines[order].tolist(), abs=1e-6)
    assert [(row.video_id, row.pts) for row in found.rows] == [
        (table["video_id"][at].as_py(), table["pts"][at].as_py()) for at in order.tolist()
    ]


def test_rows_that_lie_together_are_one_moment(tmp_path: Path) -> None:
    lake = make_lake(
        tmp_path, {"film": scene([*USUAL, 0.8, 0.9, 0.95, 0.9, *USUAL, 0.7, *USUAL]), "other": scene(USUAL)}
    )
    first, second, *_ = Searcher.at(lake).search(towards(1)).moments
    assert (first.start_s, first.end_s, first.best.time_s) == (20, 23, 22)
    assert first.best.score == pytest.approx(0.95, abs=1e-6)
    assert (second.start_s, second.end_s) == (44, 44)


def test_moments_of_a_video_never_touch(tmp_path: Path) -> None:
    cosines = np.random.default_rng(3).uniform(0.2, 0.95, 200).tolist()
    found = Searcher.at(make_lake(tmp_path, {"film": scene(cosines)})).search(towards(1), top=30).moments
    spans = sorted((each.start_s, each.end_s) for each in found)
    assert len(found) > 5
    assert all(end + 1 < start for (_, end), (start, _) in itertools.pairwise(spans))
    assert [each.best.score for each in found] == sorted((each.best.score for each in found), reverse=True)


def test_a_gap_ends_a_moment(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    for index in (0, 5):  # sixty seconds apart
        row = finished("film", index, num_samples=4)
        dataset.publish_features(row, dataset_info(), token=token)
    found = Searcher.at(str(tmp_path)).search(towards(1, 1, 1, 1), top=5).moments
    assert all(each.end_s - each.start_s <= 3 for each in found)


def test_one_long_scene_does_not_hide_other_videos(tmp_path: Path) -> None:
    still = scene([0.9] * 3000)
    lake = make_lake(tmp_path, {"still": still, "far": scene([0.1] * 3500), "good": scene([*USUAL, 0.6, *USUAL])})
    found = Searcher.at(lake).search(towards(1), top=2).moments
    assert [each.best.uri for each in found] == ["/videos/still.mp4", "/videos/good.mp4"]
    assert (found[0].start_s, found[0].end_s) == (0, 2999)


def test_a_sample_of_the_lake_finds_itself_as_the_same_picture(tmp_path: Path) -> None:
    lake = make_lake(
        tmp_path, {name: scene(np.linspace(start, 0.95, 30).tolist()) for name, start in (("a", 0.1), ("b", 0.2))}
    )
    found = Searcher.at(lake).search(SampleQuery(uri="/videos/b.mp4", time_s=7.4), by_rows=True).rows
    assert found is not None
    assert (found[0].uri, found[0].time_s, found[0].is_same_picture) == ("/videos/b.mp4", 7, True)
    assert found[0].score >= 1 - 1e-5
    assert not found[-1].is_same_picture


def test_a_video_may_be_named_by_the_end_of_its_address(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, {name: scene(USUAL) for name in ("gate/a", "yard/a", "b")})
    searcher = Searcher.at(lake)
    assert searcher.search(SampleQuery(uri="b.mp4", time_s=1)).moments[0].best.is_same_picture
    with pytest.raises(UsageError, match=r"end of 2 videos' addresses \(/videos/gate/a.mp4, /videos/yard/a.mp4\)"):
        searcher.search(SampleQuery(uri="a.mp4", time_s=1))
    with pytest.raises(UsageError, match=r"has no video c.mp4"):
        searcher.search(SampleQuery(uri="c.mp4", time_s=1))


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (Scope(where="camera = 'gate'"), {"a", "c"}),
        (Scope(where="camera = 'yard' or day > 2"), {"b", "c"}),
        (Scope(where="camera is null"), set()),
        (Scope(equal={"camera": "gate", "day": 1}), {"a"}),
        (Scope(equal={"camera": "gate' or '1'='1"}), set()),
        (Scope(period=Period.parse("2023-11-14T22:13:22.1Z", "2023-11-14T22:13:22.2Z")), {"a", "b", "c"}),
        (Scope(period=Period.parse("2024-01-01", None)), set()),
    ],
    ids=["where", "or", "null", "values", "no SQL in values", "two seconds in", "later"],
)
def test_only_what_is_in_scope_is_found(tmp_path: Path, scope: Scope, names: set[str]) -> None:
    videos = {name: scene(USUAL) for name in "abc"}
    lake = make_lake(tmp_path, videos, columns={"camera": ["gate", "yard", "gate"], "day": [1, 2, 3]})
    found = Searcher.at(lake).search(towards(1), scope=scope, top=1000, by_rows=True)
    assert found.rows is not None
    assert {row.uri for row in found.rows} == {f"/videos/{name}.mp4" for name in names}
    assert found.num_scanned == len(found.rows)
    if not scope.period.is_open and names:
        assert {row.time_s for row in found.rows} == {2.0}


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (Scope(where="camera = "), "bad --where"),
        (Scope(where="no_such = 1"), "no_such"),
        (Scope(where="1 = 1; drop table videos"), "bad --where"),
        (Scope(where="true) union select ('x'"), "bad --where"),
        (Scope(where="exists (select * from read_text('/etc/hostname'))"), "bad --where"),
        (Scope(equal={"no_such": 1}), "videos has no column 'no_such'"),
        (Scope(equal={"width": "wide"}), "column width of videos holds int32"),
    ],
    ids=["half", "no such column", "a statement", "more than a condition", "a file", "no column", "another type"],
)
def test_what_is_no_condition_is_refused(tmp_path: Path, scope: Scope, message: str) -> None:
    lake = make_lake(tmp_path, {"a": scene(USUAL)})
    with pytest.raises(UsageError, match=message):
        Searcher.at(lake).search(towards(1), scope=scope)


def test_videos_that_were_replaced_are_not_found(tmp_path: Path) -> None:
    dataset, _ = open_lake(tmp_path, {"old": scene([0.9]), "new": scene([0.5])}, replaced=frozenset({"old"}))
    found = Searcher.at(dataset.store.uri).search(towards(1))
    assert [each.best.uri for each in found.moments] == ["/videos/new.mp4"]


def test_vectors_that_are_not_finite_are_like_nothing(tmp_path: Path) -> None:
    odd = scene([0.5, 0.6, 0.7, 0.8])
    odd[0] = np.nan
    odd[1, 0] = np.inf
    odd[2] = 0
    found = Searcher.at(make_lake(tmp_path, {"odd": odd})).search(towards(1), by_rows=True).rows
    assert found is not None
    assert [row.score for row in found] == pytest.approx([0.8, 0, 0, 0], abs=1e-6)


def test_new_rows_are_found_without_a_command(tmp_path: Path) -> None:
    dataset, token = open_lake(tmp_path, {"a": scene(USUAL)})
    searcher = Searcher.at(str(tmp_path))
    searcher.unpack()
    assert searcher.search(towards(1)).num_scanned == 20
    dataset.publish_features(finished("later", num_samples=3), dataset_info(), token=token)
    found = searcher.search(towards(1), by_rows=True, top=30)  # its file has no copy yet
    assert found.num_scanned == 23
    searcher.unpack()
    again = searcher.search(towards(1), by_rows=True, top=30)
    assert [(row.video_id, row.pts) for row in again.rows or ()] == [
        (row.video_id, row.pts) for row in found.rows or ()
    ]
    assert again.num_scanned == 23


def test_rows_that_a_stream_wrote_a_second_ago_are_found(tmp_path: Path) -> None:
    of = session()
    began_s = of.started_at.timestamp()
    with writer(tmp_path) as stream:
        stream.begin(of)
        stream.commit(batch(of, 0, 5))
        searcher = Searcher.at(str(tmp_path))
        found = searcher.search(SampleQuery(uri=of.uri, time_s=3), by_rows=True)
        assert found.num_scanned == 5
        assert {(row.uri, row.time_s, row.captured_s) for row in found.rows or ()} == {
            (of.uri, slot, began_s + slot) for slot in range(5)
        }
        late = Scope(period=Period(begin_s=began_s + 3))
        assert searcher.search(SampleQuery(uri=of.uri, time_s=3), scope=late, by_rows=True).num_scanned == 2
    published = Searcher.at(str(tmp_path)).search(SampleQuery(uri=of.uri, time_s=3), by_rows=True)
    assert [(row.pts, row.captured_s) for row in published.rows or ()] == [
        (row.pts, row.captured_s) for row in found.rows or ()
    ]
    assert published.num_scanned == 5


def test_what_quarantine_keeps_out_is_counted(tmp_path: Path) -> None:
    dataset, token = open_lake(tmp_path / "lake", {"a": scene(USUAL)})

    publish_plan(
        dataset, plan_table(planned("b", segments=[segment(0, num_samples=9), segment(1, num_samples=7)])), token=token
    )
    dataset.publish_features(finished("b", 0, num_samples=4, reason="truncated"), dataset_info(), token=token)
    dataset.publish_features(finished("b", 1, num_samples=0, reason="crashed"), dataset_info(), token=token)
    derive(dataset, shard=WHOLE, token=token)
    assert Searcher.at(str(tmp_path / "lake")).search(towards(1)).num_absent == 9 - 4 + 7


def test_a_curve_has_the_score_of_each_sample_in_the_order_of_time(tmp_path: Path) -> None:
    cosines = [0.1, 0.9, 0.5, 0.3]
    lake = make_lake(tmp_path, {"a": scene(cosines), "b": scene(USUAL)})
    for has_cache in (False, True):
        curve = Searcher.at(lake, has_cache=has_cache).curve(towards(1), id_of("a"))
        assert curve.times_s.tolist() == [0, 1, 2, 3]
        assert curve.scores.tolist() == pytest.approx(cosines, abs=1e-6)
    with pytest.raises(UsageError, match="no sample of a video 'c'"):
        Searcher.at(lake).curve(towards(1), "c")


def test_an_answer_says_how_much_was_looked_at(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, {"a": scene(USUAL)})
    document = json.loads(json.dumps(Searcher.at(lake).search(towards(1), top=1).to_json()))
    assert {name: document[name] for name in ("indexed", "scanned", "absent")} == {
        "indexed": 0,
        "scanned": 20,
        "absent": 0,
    }
    [moment] = document["moments"]
    assert moment.keys() == {
        "uri", "video_id", "start_s", "end_s", "best_s", "epoch", "pts", "score", "same_picture", "captured_at"
    }  # fmt: skip
    assert moment["captured_at"] == "2023-11-14T22:13:20.123456Z"


def test_a_lake_that_was_moved_makes_its_copies_again(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", {"a": scene(USUAL)})
    Searcher.at(lake).unpack()
    shutil.copytree(lake, tmp_path / "moved")
    searcher = Searcher.at(str(tmp_path / "moved"))
    searcher.unpack()
    assert searcher.search(towards(1)).num_scanned == 20
    assert len(list((tmp_path / "moved" / "_vidlake" / "search").glob("*.new"))) == 1


def test_a_lake_in_a_bucket_is_searched_and_indexed(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset, token = new_dataset(bucket)
    for name in "abc":
        dataset.publish_features(finished(name, num_samples=20), dataset_info(), token=token)
    query = towards(1, 0.5, 0.2, 0.1)
    searcher = Searcher.at(bucket)
    streamed = searcher.search(query, by_rows=True)
    built = searcher.build_index()
    assert built.num_rows == 60
    assert Path(built.folder).is_relative_to(tmp_path)
    looked_up = Searcher.at(bucket).search(query, by_rows=True)
    assert (streamed.num_scanned, looked_up.num_indexed) == (60, 60)
    assert [(row.video_id, row.pts) for row in looked_up.rows or ()] == [
        (row.video_id, row.pts) for row in streamed.rows or ()
    ]
