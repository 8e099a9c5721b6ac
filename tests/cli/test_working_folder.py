"""What lies in the folder where a command is called is data, whatever it is called."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command import vidlake
from labelled_lakes import blob, make_lake
from videos import video_bytes

INSTALLED = Path(sys.executable).with_name("vidlake")
OURS_AND_LIBRARIES = ("pipeline", "serve", "av", "ray", "torch", "numpy", "pyarrow", "click")


@pytest.mark.slow
def test_modules_named_like_ours_are_imported_by_no_command_worker_or_decoder(tmp_path: Path) -> None:
    for name in OURS_AND_LIBRARIES:
        (tmp_path / f"{name}.py").write_text(f"open('{name}.ran', 'w'); raise SystemExit('the wrong {name}')\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(video_bytes(num_frames=30))
    command = [str(INSTALLED), "extract", "in", "--out", "lake", "--model", "video_cnn", "--weights", "random:0"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)

    assert done.returncode == 0, done.stderr
    [rows] = (pq.read_table(path).num_rows for path in (tmp_path / "lake" / "features").glob("*.parquet"))
    assert rows == 2
    assert list(tmp_path.glob("*.ran")) == []


def test_whatever_escapes_is_one_line_that_names_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    fault = "import pipeline.lake.tables as t; t.read_statuses = lambda uri: 1 / 0"
    program = f"import sys; {fault}; from pipeline.cli.main import main; sys.argv = ['vidlake', 'status', 'x']; main()"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    [kept] = tmp_path.glob("vidlake-*.txt")
    assert line == f"vidlake: a fault of vidlake's own: ZeroDivisionError: division by zero; the traceback is in {kept}"
    assert "ZeroDivisionError" in kept.read_text()
    assert "Traceback" in kept.read_text()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "lake"
    make_lake(folder, {"a": blob(0, 3, seed=0)})
    return folder


@pytest.mark.parametrize("words", [["status", "LAKE"], ["status", "LAKE", "--json"], ["--help"], ["--version"]])
def test_what_cannot_be_written_is_one_line(words: list[str], lake: Path) -> None:
    command = [sys.executable, "-m", "pipeline", *(str(lake) if word == "LAKE" else word for word in words)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["vidlake: cannot write to stdout: No space left on device"]


def test_reader_that_has_gone_is_no_fault(lake: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m pipeline status {lake} | head -0", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_usage_errors_of_click_are_one_line_too() -> None:
    done = vidlake("extract", "--no-such-option")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
