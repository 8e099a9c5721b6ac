"""``vidlake predict`` as users run it: what it writes, what it refuses, and what becomes of it when it is killed."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ClipFactory
from lakes import MODEL, kill, started, vidlake
from patience import PATIENCE_S
from predictions import head_for, predictions, write_head
from rows import dataset_info, finished, new_dataset

from pipeline.lake.video_features import LakeFeatures

NUM_FILES, VIDEOS_PER_FILE, FRAMES = 60, 4, 5


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, clips: ClipFactory, shared_ray: str) -> Path:
    """A lake of two videos with features of a real model, and heads for it."""
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "videos").mkdir()
    for index in range(2):
        os.link(clips(num_frames=60, gop=25, seed=index), folder / "videos" / f"{index}.mp4")
    vidlake(
        "extract", folder / "videos", "--out", folder / "lake", *MODEL, "--sample", "fps:5", "--address", shared_ray
    )
    write_head(folder / "heads/frame", head_for(folder / "lake", steps=("standardize",)))
    write_head(folder / "heads/frame", head_for(folder / "lake"), version=2, seed=1)
    write_head(folder / "heads/window", head_for(folder / "lake", "gru:4", unit="window:1"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frame", "window"])
def test_archive_is_predicted_by_a_head(archive: Path, tmp_path: Path, shared_ray: str, name: str) -> None:
    from pipeline.lake.publishing.backends import backend_at
    from pipeline.models.heads.registry import Heads

    words = ["predict", archive / "lake", "--head", archive / "heads" / name, "--out", tmp_path / "out"]
    words += ["--address", shared_ray]
    done = json.loads(vidlake(*words, "--json").stdout)
    loaded = Heads(backend_at(str(archive / "heads")).store).load(name)
    assert (done["head"], done["digest"], done["num_videos"]) == (str(loaded), loaded.head.digest, 2)
    rows = predictions(tmp_path / "out")
    assert len(rows) == done["num_units"] == sum(done["labels"].values())
    for video in LakeFeatures.at(str(archive / "lake")).read():
        mine = rows.filter(pa.compute.equal(rows["video_id"], video.video_id))
        answers = loaded.head.answer(video.features, video.samples)
        assert np.allclose(mine["probabilities"].to_pylist(), answers.probabilities, atol=1e-6)
        assert mine["time_s"].to_pylist() == answers.units.time_s.tolist()
        assert mine["end_s"].to_pylist() == answers.units.end_s.tolist()
    again = vidlake(*words)
    assert again.stdout.startswith(f"0 predictions of {loaded} for 0 videos")
    assert predictions(tmp_path / "out").equals(rows)


@pytest.mark.slow
def test_version_in_use_is_the_one_that_predicts_and_another_is_refused(
    archive: Path, tmp_path: Path, shared_ray: str
) -> None:
    head, out = archive / "heads/frame", tmp_path / "out"
    words = ["predict", archive / "lake", "--out", out, "--address", shared_ray, "--head"]
    assert json.loads(vidlake(*words, head, "--json").stdout)["head"] == "frame@2"
    before = snapshot(out)
    [line] = vidlake(*words, f"{head}@1", status=2).stderr.splitlines()[-1:]
    assert "frame@2" in line
    assert "frame@1" in line
    assert snapshot(out) == before


@pytest.mark.slow
def test_what_does_not_fit_is_refused_in_one_line_and_touches_nothing(archive: Path, tmp_path: Path) -> None:
    lake, heads, out = archive / "lake", tmp_path / "heads", tmp_path / "out"
    other = tmp_path / "other"
    dataset, token = new_dataset(other)
    dataset.publish_features(finished("a"), dataset_info(), token=token)
    fingerprints = [LakeFeatures.at(str(each)).backbones[0].fingerprint for each in (lake, other)]
    shutil.copytree(archive / "heads", heads)
    (heads / "frame/1/head.json").write_text("{")
    (heads / "window/1/weights.safetensors").write_bytes(b"short")
    refusals = {
        ("frame@1",): "head.json",
        ("window",): "weights.safetensors",
        ("frame@9",): "version 9",
        ("nobody",): "nobody",
        ("frame@2", "--since", "once"): "--since",
        ("frame@2", "--since", "2026-01-02", "--until", "2026-01-01"): "--until",
    }
    for (name, *words), told in refusals.items():
        line = refused("predict", lake, "--head", heads / name, "--out", out, *words)
        assert told in line, line
    line = refused("predict", other, "--head", heads / "frame@2", "--out", out)
    assert all(fingerprint in line for fingerprint in fingerprints), line
    assert "no dataset" in refused("predict", tmp_path / "none", "--head", heads / "frame@2", "--out", out)
    assert "--out" in refused("predict", lake, "--head", heads / "frame@2", "--out", "")
    assert not out.exists()


def refused(*words: object) -> str:
    done = vidlake(*words, status=2)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of many small features files, and heads of frames and of videos."""
    folder = tmp_path_factory.mktemp("many")
    dataset, token = new_dataset(folder / "lake")
    for file in range(NUM_FILES):
        rows = [finished(f"{file}-{at}", num_samples=FRAMES) for at in range(VIDEOS_PER_FILE)]
        dataset.publish_features(pa.concat_tables(rows), dataset_info(), token=token)
    write_head(folder / "heads/frame", head_for(folder / "lake"))
    return folder


def num_rows(out: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (out / "predictions").glob("*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "victim",
    [
        "the whole job",
        *(pytest.param(victim, marks=pytest.mark.soak) for victim in ("the driver alone", "a worker", "the raylet")),
    ],
)
def test_killed_prediction_goes_on_without_duplicates(many_files: Path, tmp_path: Path, victim: str) -> None:
    out = tmp_path / "out"
    words = ["predict", many_files / "lake", "--head", many_files / "heads/frame", "--out", out]
    run = started(*words)
    while run.poll() is None and not num_rows(out):
        time.sleep(0.005)
    family = psutil.Process(run.pid).children(recursive=True)
    try:
        assert run.poll() is None, "nothing was interrupted"
        if victim in ("the whole job", "the driver alone"):
            kill(run, whole=victim == "the whole job")
        else:
            title = "ray::MapBatches(predict_block)" if victim == "a worker" else "raylet/raylet"
            for process in family:
                if title in " ".join(process.cmdline()):
                    process.kill()
                    break
            else:
                pytest.fail(f"no {title} was at work")
            assert run.wait(timeout=PATIENCE_S) == 0 or victim == "the raylet"
        if victim != "a worker":
            assert 0 < num_rows(out) <= NUM_FILES * VIDEOS_PER_FILE * FRAMES
        before = snapshot(out / "predictions")
        vidlake(*words)
        assert before.items() <= snapshot(out / "predictions").items(), "finished files are left as they are"
        rows = predictions(out)
        keys = set(zip(rows["video_id"].to_pylist(), rows["pts"].to_pylist(), strict=True))
        assert len(rows) == len(keys) == NUM_FILES * VIDEOS_PER_FILE * FRAMES
    finally:
        psutil.wait_procs(family, timeout=PATIENCE_S)
