"""The wheel by itself: what a user installs holds every package and data file, and nothing else is needed."""

import json
import os
import signal
import subprocess
import sys
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from patience import PATIENCE_S
from videos import video_bytes

ROOT = Path(__file__).resolve().parents[2]
MODEL = ("--model", "video_cnn", "--weights", "random:0")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, names.decode().split("\0")):  # building leaves folders behind: not in the checkout
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."]
    subprocess.run([sys.executable, *build], cwd=source, check=True)
    [path] = folder.glob("vidlake-*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_every_package_and_data_file(wheel: Path) -> None:
    ours = [path for package in ("pipeline", "serve") for path in (ROOT / package).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in ours if "__pycache__" not in path.parts}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the wheel, and of the checkout's with the libraries alone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries))  # whose own .pth, of the checkout, is not read
    target = ["--no-deps", "--no-index", "--ignore-installed", "--prefix", str(folder), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *target], check=True)
    command = folder / "bin" / "vidlake"
    lines = command.read_text().splitlines(keepends=True)
    command.write_text("".join([f"#!{folder / 'bin' / 'python'}\n", *lines[1:]]))
    return folder / "bin"


def run(command: Path, *words: object, folder: Path) -> str:
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(command), *map(str, words)], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(command: Path, *words: object, folder: Path) -> Iterator[str]:
    """The address of a server that is ready."""
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [str(command), "serve", *map(str, words)], cwd=folder, env=variables, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert " at http" in first, first
        yield first.rpartition(" at ")[2].strip()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
def test_installed_wheel_extracts_and_serves(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(video_bytes(num_frames=30))
    vidlake = installed / "vidlake"
    where = run(installed / "python", "-c", "import pipeline, serve; print(pipeline.__file__)", folder=tmp_path)
    assert where.startswith(str(installed.parent))
    assert "extract" in run(vidlake, "--help", folder=tmp_path)

    summary = json.loads(run(vidlake, "extract", "in", "--out", "lake", *MODEL, "--json", folder=tmp_path))

    assert summary["num_samples"] == 2
    [rows] = [pq.read_table(path) for path in (tmp_path / "lake" / "features").glob("*.parquet")]
    port = 20_000 + os.getpid() % 20_000
    with serving(vidlake, "--from", "lake", "--port", port, folder=tmp_path) as address:
        content = (tmp_path / "in" / "a.mp4").read_bytes()
        reply = httpx.post(
            f"{address}/v1/embed", content=content, headers={"Content-Type": "video/mp4"}, timeout=PATIENCE_S
        )
        assert httpx.get(f"{address}/docs", timeout=PATIENCE_S).status_code == 200
    assert reply.status_code == 200, reply.text
    live = np.array([sample["feature"] for sample in reply.json()["samples"]])
    assert np.abs(live - np.array(rows["feature"].to_pylist())).max() < 1e-5
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and _processes_of(installed.parent):
        time.sleep(0.2)
    assert _processes_of(installed.parent) == []


def _processes_of(environment: Path) -> list[str]:
    """What still runs of an environment."""
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [" ".join(words) for words in commands if any(str(environment) in word for word in words)]
