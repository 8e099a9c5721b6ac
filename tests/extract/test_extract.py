"""The batch job, end to end on a real Ray: each promise of the design has its test here."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import ClipFactory
from lakes import MODEL, assert_same, features, started, statuses, table, vidlake

pytestmark = pytest.mark.slow

HOW = [*MODEL, "--sample", "fps:3"]
NUM_ROWS = 6 * 12


def six_videos(folder: Path, clips: ClipFactory) -> Path:
    """Of 4 s each, the last in Matroska."""
    folder.mkdir()
    for index in range(6):
        container = "mkv" if index == 5 else "mp4"
        clip = clips(container=container, num_frames=100, gop=25, seed=index)
        os.link(clip, folder / f"{index}.{container}")
    return folder


@pytest.fixture
def archive(tmp_path: Path, clips: ClipFactory) -> Path:
    """Six videos that a test may change."""
    return six_videos(tmp_path / "archive", clips)


@dataclass(frozen=True, slots=True)
class Made:
    """A dataset, and the summary of the run that made it."""

    out: Path
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, clips: ClipFactory, shared_ray: str) -> dict[str, Made]:
    """What runs make of the same six videos, cut into segments of a second and into none."""
    folder = tmp_path_factory.mktemp("made")
    words = ["extract", six_videos(folder / "archive", clips), *HOW, "--address", shared_ray, "--json"]
    made = {}
    for name, seconds in (("short", "1"), ("long", "1000")):
        done = vidlake(*words, "--out", folder / name, "--segment-seconds", seconds)
        made[name] = Made(folder / name, json.loads(done.stdout))
    return made


def test_archive_becomes_a_lake(made: dict[str, Made]) -> None:
    out, summary = made["long"].out, made["long"].summary
    assert summary["totals"]["videos"]["ok"] == 6
    rows = table(out, "features")
    assert len(rows) == summary["num_samples"] == NUM_ROWS
    assert rows.schema.field("feature").type == pa.list_(pa.float32(), 512)
    assert set(statuses(out).values()) == {"ok"}


def test_decoding_runs_beside_the_model_and_its_memory_is_reported(made: dict[str, Made]) -> None:
    [report] = [json.loads(path.read_text()) for path in (made["short"].out / "_vidlake" / "runs").iterdir()]
    decoders, models = (report["stages"][stage]["workers"] for stage in ("decode", "embed"))
    assert not decoders.keys() & models.keys(), "Ray Data fused decoding into the model's actor: nothing overlaps"
    assert all(0 < worker["private_bytes"] < 400e6 for worker in decoders.values())


def test_bad_video_costs_one_video(archive: Path, tmp_path: Path, shared_ray: str, made: dict[str, Made]) -> None:
    out = tmp_path / "lake"
    (archive / "empty.mp4").touch()
    (archive / "noise.mp4").write_bytes(random.Random(0).randbytes(50_000))
    (archive / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{archive / '0.mp4'}'\n")
    whole = (archive / "1.mp4").read_bytes()
    (archive / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    vidlake("extract", archive, "--out", out, *HOW, "--address", shared_ray)
    assert_same(features(out), features(made["long"].out))
    reasons = {Path(row["uri"]).name: row["reason"] for row in table(out, "quarantine").to_pylist()}
    assert reasons["empty.mp4"] == "unreadable"
    assert reasons["noise.mp4"] == reasons["list.mp4"] == "not_video"
    assert reasons["headless.mp4"] in {"truncated", "corrupt", "not_video"}
    assert Counter(statuses(out).values()) == {"ok": 6, "failed": 4}
    vidlake("extract", archive, "--out", out, *HOW, "--address", shared_ray, "--strict", status=3)


def test_picks_do_not_depend_on_the_cut(made: dict[str, Made]) -> None:
    assert_same(features(made["short"].out), features(made["long"].out))
    segments = [table(made[name].out, "videos")["num_segments"].to_pylist() for name in ("short", "long")]
    assert sum(segments[0]) > sum(segments[1]) == 6


def test_finished_work_is_not_repeated_and_new_files_are_picked_up(
    archive: Path, tmp_path: Path, shared_ray: str, clips: ClipFactory
) -> None:
    out = tmp_path / "lake"
    words = ["extract", archive, "--out", out, *MODEL, "--address", shared_ray]
    vidlake(*words)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "features").iterdir()}
    vidlake(*words)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "features").iterdir()} == before
    os.link(clips(num_frames=60, seed=9), archive / "new.mp4")
    (archive / "0.mp4").unlink()
    os.link(clips(num_frames=75, seed=10), archive / "0.mp4")
    (archive / "1.mp4").unlink()
    vidlake(*words)
    videos = table(out, "videos").to_pylist()
    current = {Path(row["uri"]).name: row["num_samples"] for row in videos if row["is_current"]}
    assert current == {"0.mp4": 3, "2.mp4": 4, "3.mp4": 4, "4.mp4": 4, "5.mkv": 4, "new.mp4": 3}
    assert sorted(Path(row["uri"]).name for row in videos if not row["is_current"]) == ["0.mp4", "1.mp4"]
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in (out / "features").iterdir()}.items()


def test_another_configuration_is_refused_and_touches_nothing(
    archive: Path, shared_ray: str, made: dict[str, Made]
) -> None:
    out = made["long"].out
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    for change in (["--sample", "fps:2"], ["--weights", "random:1"], ["--precision", "bf16"], ["--dtype", "float16"]):
        done = vidlake("extract", archive, "--out", out, *HOW, *change, "--address", shared_ray, status=2)
        assert len(done.stderr.splitlines()) == 1
        assert change[0] in done.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_cluster_that_is_not_there_is_named(archive: Path, tmp_path: Path) -> None:
    done = vidlake("extract", archive, "--out", tmp_path / "lake", *MODEL, "--address", "127.0.0.1:9", status=2)
    assert len(done.stderr.splitlines()) == 1
    assert "127.0.0.1:9" in done.stderr
    assert not (tmp_path / "lake").exists()


def test_retry_adds_only_what_is_missing(archive: Path, tmp_path: Path, shared_ray: str) -> None:
    out = tmp_path / "lake"
    words = ["extract", archive, "--out", out, *MODEL, "--address", shared_ray]
    vidlake(*words, "--max-pixels", "100")
    assert set(statuses(out).values()) == {"failed"}
    assert {row["reason"] for row in table(out, "quarantine").to_pylist()} == {"too_large"}
    vidlake("retry", out, "--address", shared_ray)
    assert set(statuses(out).values()) == {"ok"}
    assert len(features(out)) == 6 * 4
    assert len(table(out, "quarantine")) == 0
    before = len(list((out / "features").iterdir()))
    vidlake("retry", out, "--address", shared_ray)
    assert len(list((out / "features").iterdir())) == before


class _Failing(SimpleHTTPRequestHandler):
    """A store that answers about ``0.mp4`` with "forbidden", and about all else with "try later"."""

    def do_GET(self) -> None:
        self.send_error(403 if self.path.startswith("/0") else 503)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_storage_error_is_not_a_bad_video(archive: Path, tmp_path: Path, shared_ray: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    base, out = f"http://127.0.0.1:{server.server_port}", tmp_path / "lake"
    vidlake("extract", f"{base}/0.mp4", "--out", out, *MODEL, "--address", shared_ray)
    assert [row["reason"] for row in table(out, "quarantine").to_pylist()] == ["unreadable"]
    done = vidlake("extract", f"{base}/1.mp4", "--out", out, *MODEL, "--address", shared_ray, status=1)
    assert len(done.stderr.splitlines()) == 1
    assert len(table(out, "quarantine")) == 1
    assert states(out) == ["failed", "finished"]
    server.shutdown()
    server.server_close()


def states(out: Path) -> list[str]:
    """Of the reports that runs have left."""
    return sorted(json.loads(path.read_text())["state"] for path in (out / "_vidlake" / "runs").iterdir())


def test_interrupted_run_says_how_to_resume_and_holds_off_a_second_one(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "lake"
    words = ["extract", archive, "--out", out, "--model", "resnet50", "--weights", "random:0", "--sample", "all"]
    run = started(*words, stderr=subprocess.PIPE)
    while not (out / "_vidlake" / "plan").exists():
        time.sleep(0.1)
        assert run.poll() is None
    refused = vidlake(*words, status=2)
    assert "in use" in refused.stderr
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "resume" in said
    assert "Traceback" not in said


def test_a_file_that_came_back_is_stored_once(archive: Path, tmp_path: Path, shared_ray: str) -> None:
    out, late = tmp_path / "lake", archive / "late.mp4"
    (archive / "list.txt").write_text("0.mp4\nlate.mp4\n")
    words = ["extract", archive / "list.txt", "--out", out, *MODEL, "--address", shared_ray]
    vidlake(*words)
    assert statuses(out) == {"0.mp4": "ok", "late.mp4": "failed"}
    os.link(archive / "1.mp4", late)
    for command in (["retry", out, "--address", shared_ray], words, ["retry", out, "--address", shared_ray]):
        vidlake(*command)
        assert len(features(out)) == 2 * 4, "a sample is there once"
        videos = [(row["status"], row["is_current"]) for row in table(out, "videos").to_pylist()]
        assert sorted(videos) == [("failed", False), ("ok", True), ("ok", True)]


def test_signed_videos_cannot_be_retried_and_that_is_one_line(archive: Path, tmp_path: Path, shared_ray: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url, out = f"http://127.0.0.1:{server.server_port}/0.mp4?X-Amz-Signature=s3cr3t", tmp_path / "lake"
    vidlake("extract", url, "--out", out, *MODEL, "--address", shared_ray)
    before = table(out, "quarantine").to_pylist()
    done = vidlake("retry", out, "--address", shared_ray)
    assert "1 failed videos cannot be retried: their addresses were signed" in done.stderr
    assert table(out, "quarantine").to_pylist() == before, "the same attempts, the same reason"
    server.shutdown()
    server.server_close()


def test_compacted_lake_is_resumed_and_retried_like_the_old_one(
    archive: Path, tmp_path: Path, shared_ray: str, clips: ClipFactory
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    words = ["extract", archive, *MODEL, "--segment-seconds", "1", "--address", shared_ray, "--out"]
    (archive / "broken.mp4").write_bytes(b"no video")
    vidlake(*words, old, "--rows-per-file", "2")
    told = json.loads(vidlake("compact", old, "--out", new, "--json").stdout)
    assert (told["num_files"], told["num_samples"]) == (1, 6 * 4)
    assert status(new) == status(old)
    [path] = (new / "features").iterdir()
    vidlake("retry", new, "--address", shared_ray)
    [quarantined] = table(new, "quarantine").to_pylist()
    assert (quarantined["reason"], quarantined["attempts"]) == ("not_video", 2)
    os.link(clips(num_frames=100, gop=25, seed=9), archive / "later.mp4")
    vidlake(*words, new)
    assert path in (new / "features").iterdir()
    rows = table(new, "features")
    assert len(rows) == 6 * 4 + 4
    of_the_old = pa.compute.is_in(rows["video_id"], table(old, "features")["video_id"].unique())
    assert in_order(rows.filter(of_the_old)).equals(in_order(table(old, "features")))


def status(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(vidlake("status", out, "--json").stdout)
    return told | {"uri": None}


def in_order(rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in ("video_id", "epoch", "segment", "pts")])
