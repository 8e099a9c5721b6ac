"""What a command cannot do for reasons of its own or of its output is one line, and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from labelled_lakes import blob, make_lake


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
