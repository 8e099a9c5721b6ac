"""The index: measured against the exact search, never hides a row, and costs nothing when it is killed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from labelled_lakes import open_lake
from rows import DIM, dataset_info, finished

from pipeline.explore.index import lake_index
from pipeline.explore.queries import Scope, VectorQuery
from pipeline.explore.searcher import Searcher
from pipeline.lake.dataset import Dataset


def many(num: int = 40, *, length: int = 60) -> dict[str, np.ndarray]:
    """Videos, each a walk through features of its own."""
    walks = {}
    for number in range(num):
        steps = np.random.default_rng(number).standard_normal((length, DIM))
        walks[f"v{number}"] = np.cumsum(steps, axis=0).astype(np.float32)
    return walks


@pytest.fixture
def lake(tmp_path: Path) -> tuple[Dataset, str]:
    """A lake and the token of its lease."""
    return open_lake(tmp_path / "lake", many())


def queries() -> list[VectorQuery]:
    return [
        VectorQuery(vector=np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)) for seed in range(9)
    ]


def test_an_index_finds_what_the_exact_search_finds(lake: tuple[Dataset, str]) -> None:
    searcher = Searcher.at(lake[0].store.uri)
    built = searcher.build_index()
    assert built.measured.recall >= 0.99
    assert built.num_rows == 40 * 60
    found = wanted = 0
    for query in queries():
        fast, exact = (searcher.search(query, by_rows=True, exact=is_exact).rows or () for is_exact in (False, True))
        found += len({(row.video_id, row.pts) for row in fast} & {(row.video_id, row.pts) for row in exact})
        wanted += len(exact)
    assert found >= 0.95 * wanted  # these queries are no rows of the lake, as those by which it is measured
    answer = searcher.search(queries()[0])
    assert (answer.num_indexed, answer.num_scanned) == (2400, 0)
    assert searcher.search(queries()[0], exact=True).num_scanned == 2400


@pytest.mark.slow
def test_what_no_index_covers_is_compared_and_the_next_one_covers_it(lake: tuple[Dataset, str]) -> None:
    dataset, token = lake
    searcher = Searcher.at(dataset.store.uri)
    searcher.build_index()
    dataset.publish_features(finished("later", num_samples=5), dataset_info(), token=token)
    new = Searcher.at(dataset.store.uri)
    new.unpack()
    answer = new.search(queries()[0], by_rows=True, top=50)
    assert (answer.num_indexed, answer.num_scanned) == (2400, 5)
    built = new.build_index()
    assert (built.num_rows, built.num_groups) == (2405, 1)
    assert new.search(queries()[0]).num_indexed == 2405
    assert new.build_index().num_new_groups == 0


@pytest.mark.slow
def test_large_groups_stay_as_they_are(lake: tuple[Dataset, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_index, "_GROUP_ROWS", 500)
    dataset, token = lake
    first = Searcher.at(dataset.store.uri).build_index()
    assert first.num_groups == 5
    folder = Path(first.folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.group")}
    dataset.publish_features(finished("later", num_samples=5), dataset_info(), token=token)
    again = Searcher.at(dataset.store.uri).build_index()
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.group")}
    assert again.num_rows == 2405
    assert again.num_new_groups == 1
    assert before.items() <= after.items()


def test_one_still_scene_does_not_hide_the_rest_from_an_index(tmp_path: Path) -> None:
    still = np.tile(np.array([[1, 0.1, 0, 0]], np.float32), (3000, 1))
    dataset, _ = open_lake(tmp_path, {"still": still, **many(20)})
    searcher = Searcher.at(dataset.store.uri)
    searcher.build_index()
    query = VectorQuery(vector=np.array([1, 0, 0, 0], np.float32))
    fast, exact = (searcher.search(query, exact=is_exact, top=5) for is_exact in (False, True))
    assert [moment.best.uri for moment in fast.moments] == [moment.best.uri for moment in exact.moments]
    assert len(fast.moments) == 5


@pytest.mark.parametrize(
    "damage", ["no settings", "half a group", "an unfinished group", "another configuration", "no copies"]
)
@pytest.mark.quick_one_in(3)
def test_an_index_that_cannot_be_used_costs_nothing(lake: tuple[Dataset, str], damage: str) -> None:
    uri = lake[0].store.uri
    folder = Path(Searcher.at(uri).build_index().folder)
    [group] = folder.glob("*.group")
    if damage == "no settings":  # killed before it was measured
        (folder / "settings.json").unlink()
    elif damage == "half a group":
        group.write_bytes(group.read_bytes()[: group.stat().st_size // 2])
    elif damage == "an unfinished group":
        group.rename(folder / "tmp" / "0123")
    elif damage == "another configuration":
        settings = json.loads((folder / "settings.json").read_text())
        (folder / "settings.json").write_text(json.dumps({**settings, "configuration": "0" * 64}))
    else:
        shutil.rmtree(Path(uri) / "_vidlake" / "search")
    searcher = Searcher.at(uri)
    answer = searcher.search(queries()[0])
    assert (answer.num_indexed, answer.num_scanned) == (0, 2400)
    again = searcher.build_index()
    assert again.measured.recall >= 0.99
    assert searcher.search(queries()[0]).num_indexed == 2400
    assert not list((folder / "tmp").glob("*")) or damage != "an unfinished group"


def test_rows_of_replaced_videos_are_not_looked_up(tmp_path: Path) -> None:
    videos = many(10)
    dataset, _ = open_lake(tmp_path, videos, replaced=frozenset({"v3"}))
    searcher = Searcher.at(dataset.store.uri)
    searcher.build_index()
    query = VectorQuery(vector=videos["v3"][7])
    assert all(row.uri != "/videos/v3.mp4" for row in searcher.search(query, by_rows=True, top=100).rows or ())


def test_a_scope_is_compared_row_by_row(lake: tuple[Dataset, str]) -> None:
    searcher = Searcher.at(lake[0].store.uri)
    searcher.build_index()
    answer = searcher.search(queries()[0], scope=Scope(where="uri = '/videos/v3.mp4'"))
    assert (answer.num_indexed, answer.num_scanned) == (0, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [1, 2], ids=["in the first group", "in the second group"])
def test_killed_while_indexing_it_goes_on_and_searches_are_exact(lake: tuple[Dataset, str], kill_at: int) -> None:
    uri = lake[0].store.uri
    Searcher.at(uri).unpack()
    script = f"""
import itertools, os, signal
from pipeline.explore.index import lake_index
from pipeline.explore.searcher import Searcher
lake_index._GROUP_ROWS = 1300
calls = itertools.count(1)
os.fdatasync = lambda fd: next(calls) < {kill_at} or os.kill(os.getpid(), signal.SIGKILL)
Searcher.at({uri!r}).build_index(print)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    searcher = Searcher.at(uri)
    answer = searcher.search(queries()[0])
    assert (answer.num_indexed, answer.num_scanned) == (0, 2400)
    built = searcher.build_index()
    assert built.num_rows == 2400
    assert searcher.search(queries()[0]).num_indexed == 2400
    assert [path.name for path in (Path(built.folder) / "tmp").iterdir()] == []
