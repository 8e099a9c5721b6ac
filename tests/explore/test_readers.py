"""The examples of docs/readers.md run as they stand there, as far as their libraries are installed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ClipFactory
from real_lakes import real_lake

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(
    r"## (?P<title>[^\n]+)\n(?:(?!\n## ).)*?<!-- needs: (?P<needs>\w+) -->\n```python\n(?P<code>.*?)```", re.DOTALL
)


def examples() -> list[object]:
    text = (ROOT / "docs/readers.md").read_text()
    found = [pytest.param(each["needs"], each["code"], id=each["title"]) for each in EXAMPLE.finditer(text)]
    assert len(found) == text.count("```python")
    return list(found)


@pytest.fixture(scope="module")
def folder(clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a lake lies that is called ``lake``."""
    folder = tmp_path_factory.mktemp("readers")
    real_lake(folder / "lake", [clips(num_frames=40), clips(num_frames=60, seed=3)], thumbnail_px=64)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("needs", "code"), examples())
def test_the_example_runs_as_it_stands(folder: Path, needs: str, code: str) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    show = ["-c", code]
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *show], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
