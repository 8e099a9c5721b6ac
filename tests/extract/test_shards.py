"""Shards side by side, and runs into a bucket that die or whose store does: end to end on a real Ray."""

import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import ClipFactory
from lakes import MODEL, assert_same, features, joining, kill, started, statuses, table, vidlake
from other_runs import HOLD, line, process
from patience import PATIENCE_S
from store_proxy import proxy_before
from stores import ACCOUNT_KEY, ObjectStore, only_variables

from pipeline.lake.publishing.backends import backend_at

pytestmark = pytest.mark.slow

WORDS = [*MODEL, "--sample", "fps:5", "--segment-seconds", "1", "--rows-per-file", "10"]

BUCKETS_IN_SOAK = [pytest.param(name, marks=pytest.mark.soak) for name in ("s3", "azure")]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, clips: ClipFactory) -> Path:
    """Eight videos of 4 s, and one that is none."""
    folder = tmp_path_factory.mktemp("archive")
    for index in range(8):
        os.link(clips(num_frames=100, gop=25, seed=index), folder / f"{index}.mp4")
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    return folder


@pytest.fixture(scope="module")
def calm(archive: Path, tmp_path_factory: pytest.TempPathFactory, shared_ray: str) -> Path:
    """What one run makes of it that nothing happens to."""
    out = tmp_path_factory.mktemp("calm") / "lake"
    vidlake("extract", archive, "--out", out, *WORDS, "--address", shared_ray)
    return out


def copied(place: str, folder: Path) -> Path:
    """The dataset's tables in a folder, wherever it lies."""
    store = backend_at(place).store
    for name in [name for part in ("features", "videos", "quarantine") for name in store.list(part)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(store.read(name))
    return folder


@pytest.mark.parametrize("place", ["folder", *BUCKETS_IN_SOAK], indirect=True)
def test_two_shards_at_once_make_the_dataset_of_one_run(
    archive: Path, calm: Path, place: str, tmp_path: Path, shared_ray: str
) -> None:
    words = ["extract", archive, "--out", place, *WORDS, *joining(shared_ray, place=place)]
    runs = [started(*words, "--shard", f"{part}/2") for part in (1, 2)]
    assert [run.wait(timeout=PATIENCE_S) for run in runs] == [0, 0]
    out = copied(place, tmp_path / "copy")
    assert_same(features(out), features(calm))
    assert statuses(out) == statuses(calm)
    assert Counter(statuses(out).values()) == {"ok": 8, "failed": 1}
    assert all(table(out, "videos")["is_current"].to_pylist())
    assert table(out, "quarantine")["reason"].to_pylist() == ["not_video"]
    assert "8 ok, 0 partial, 1 failed" in vidlake("status", place).stdout
    before = backend_at(place).store.versions("features")
    vidlake(*words)
    assert backend_at(place).store.versions("features") == before, "the whole finds all that the shards have done"
    assert statuses(copied(place, tmp_path / "again")) == statuses(calm)


@pytest.mark.parametrize("place", ["folder", *BUCKETS_IN_SOAK], indirect=True)
def test_while_a_shard_lives_the_whole_and_other_numbers_are_refused(
    archive: Path, place: str, shared_ray: str
) -> None:
    how = joining(shared_ray, place=place)
    vidlake("extract", archive, "--out", place, *WORDS, "--limit", "1", *how)
    with process(HOLD, place, "1/2") as held:
        assert line(held).startswith("1-of-2.")
        for words in (
            ["extract", archive, "--out", place, *WORDS],
            ["extract", archive, "--out", place, *WORDS, "--shard", "2/3"],
            ["extract", archive, "--out", place, *WORDS, "--shard", "1/2"],
            ["retry", place],
        ):
            done = vidlake(*words, *how, status=2)
            assert "shard 1/2" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        vidlake("extract", archive, "--out", place, *WORDS, "--shard", "2/2", *how)


@pytest.mark.parametrize("store", [pytest.param("s3", marks=pytest.mark.soak), "azure"], indirect=True)
@pytest.mark.parametrize(
    "whole",
    [pytest.param(True, id="the whole job", marks=pytest.mark.soak), pytest.param(False, id="the driver alone")],
)
def test_run_into_a_bucket_that_was_killed_resumes_without_duplicates(
    archive: Path, calm: Path, bucket_place: str, tmp_path: Path, whole: bool
) -> None:
    run = started("extract", archive, "--out", bucket_place, *WORDS)
    store = backend_at(bucket_place).store
    while run.poll() is None and not store.list("features"):
        time.sleep(0.1)
    assert run.poll() is None, "nothing was interrupted"
    kill(run, whole=whole)
    vidlake("extract", archive, "--out", bucket_place, *WORDS)
    out = copied(bucket_place, tmp_path / "copy")
    assert_same(features(out), features(calm))
    assert len(table(out, "videos")) == 9


@pytest.mark.parametrize("store", ["s3", pytest.param("azure", marks=pytest.mark.soak)], indirect=True)
def test_store_that_fails_for_good_fails_the_run_which_resumes(
    archive: Path, calm: Path, store: ObjectStore, bucket_place: str, tmp_path: Path
) -> None:
    files = backend_at(bucket_place).store
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        run = started("extract", archive, "--out", bucket_place, *WORDS, stderr=subprocess.PIPE)
        while run.poll() is None and not proxy.outage:
            time.sleep(0.1)
            proxy.outage = "503" if any("features" in each.path for each in proxy.passed) else None
        _, said = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 1, said[-2000:]
    last = said.splitlines()[-1]
    assert "run the same command again" in last
    assert not any(secret in said for secret in ("s3cr3t", ACCOUNT_KEY))
    assert "Traceback" not in said
    assert files.list("quarantine") == []
    vidlake("extract", archive, "--out", bucket_place, *WORDS)
    out = copied(bucket_place, tmp_path / "copy")
    assert_same(features(out), features(calm))
    assert statuses(out) == statuses(calm)
