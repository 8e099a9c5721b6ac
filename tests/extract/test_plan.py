"""`vidlake plan`: what a run would do, told without writing anything."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from clusters import LocalCluster
from conftest import ClipFactory
from lakes import MODEL, vidlake

pytestmark = pytest.mark.slow

FEATURE_BYTES = 512 * 4


@pytest.fixture
def archive(tmp_path: Path, clips: ClipFactory) -> Path:
    """Three videos of 4 s and one that is none."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for index in range(3):
        os.link(clips(num_frames=100, gop=25, seed=index), folder / f"{index}.mp4")
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    return folder


def planned(*words: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(vidlake("plan", *words, *MODEL, "--json").stdout)
    return document


def files(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_plan_tells_what_is_to_do_and_writes_nothing(archive: Path, tmp_path: Path, shared_ray: str) -> None:
    out = tmp_path / "lake"
    before = files(tmp_path)

    told = planned(archive, "--out", out, "--sample", "fps:5", "--address", shared_ray)

    assert (told["num_videos"], told["num_unusable"], told["num_done"]) == (4, 1, 0)
    assert (told["num_segments"], told["num_samples"]) == (3, 60)
    assert told["hours"] == pytest.approx(12 / 3600, rel=0.02)
    assert told["num_bytes"] == 60 * FEATURE_BYTES
    assert told["model_s"] > 0
    assert files(tmp_path) == before


def test_plan_of_a_dataset_counts_what_is_left_by_the_cut_that_it_has(
    archive: Path, tmp_path: Path, shared_ray: str, clips: ClipFactory
) -> None:
    """Also with another ``--segment-seconds``, which cuts new videos alone."""
    out = tmp_path / "lake"
    words = ["--out", out, "--sample", "fps:5", "--address", shared_ray]
    vidlake("extract", archive, *words, *MODEL, "--segment-seconds", "1")
    os.link(clips(num_frames=50, gop=25, seed=9), archive / "new.mp4")
    before = files(out)

    told = planned(archive, *words, "--segment-seconds", "100")

    assert (told["num_videos"], told["num_unusable"]) == (5, 1)
    assert (told["num_done"], told["num_segments"], told["num_samples"]) == (3 * 4, 1, 10)
    assert files(out) == before


def test_limit_and_shard_choose_as_they_do_for_extract(archive: Path, shared_ray: str) -> None:
    some = planned(archive, "--limit", "2", "--address", shared_ray)
    parts = [planned(archive, "--shard", f"{part}/2", "--address", shared_ray) for part in (1, 2)]

    assert some["num_videos"] == 2
    assert sum(part["num_videos"] for part in parts) == 4
    assert sum(part["num_samples"] for part in parts) == 12


def test_absent_files_count_as_unusable(tmp_path: Path, archive: Path, shared_ray: str) -> None:
    manifest = tmp_path / "some.txt"
    manifest.write_text(f"{archive / '0.mp4'}\n{archive / 'gone.mp4'}\n")

    told = planned(manifest, "--address", shared_ray)
    assert (told["num_videos"], told["num_unusable"], told["num_samples"]) == (2, 1, 4)

    manifest.write_text(f"{archive / 'gone.mp4'}\n")
    told = planned(manifest, "--address", shared_ray)
    assert (told["num_videos"], told["num_unusable"], told["num_samples"]) == (1, 1, 0)


def test_other_settings_than_the_datasets_are_refused(archive: Path, tmp_path: Path, shared_ray: str) -> None:
    out = tmp_path / "lake"
    vidlake("extract", archive, "--out", out, *MODEL, "--limit", "1", "--address", shared_ray)

    done = vidlake("plan", archive, "--out", out, *MODEL, "--sample", "fps:9", "--address", shared_ray, status=2)

    assert "--sample" in done.stderr


@pytest.mark.soak
def test_plan_on_a_cluster_of_several_nodes(archive: Path, tmp_path: Path, two_nodes: LocalCluster) -> None:
    """Its workers hand their plans over through Ray: no folder of the driver is theirs as well."""
    told = planned(archive, "--sample", "fps:5", "--address", two_nodes.address)

    assert (told["num_videos"], told["num_unusable"], told["num_samples"]) == (4, 1, 60)
