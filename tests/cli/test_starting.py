"""A terminal does not stay empty while a command imports what it needs."""

import os
import pty
import subprocess
import sys

import pytest
from patience import PATIENCE_S

from pipeline.cli.starting import first_line


@pytest.mark.parametrize(
    ("words", "is_terminal", "expected"),
    [
        pytest.param(["extract", "in"], True, True, id="a-long-command-says-so"),
        pytest.param(["extract", "in"], False, False, id="a-pipe-gets-what-there-is-to-tell"),
        pytest.param(["extract", "--help"], True, False, id="help-is-no-work"),
        pytest.param(["status", "lake"], True, False, id="a-short-command-says-nothing"),
        pytest.param([], True, False, id="no-command"),
    ],
)
def test_who_says_that_it_starts(words: list[str], is_terminal: bool, expected: bool) -> None:
    assert (first_line(words, is_terminal=is_terminal) is not None) is expected


def test_the_line_comes_before_anything_heavy_is_imported() -> None:
    """The line is written, and then the first import is made, which says what there was by then."""
    program = """
import sys
class Heavy:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("click", "pyarrow", "numpy", "ray", "torch"):
            raise SystemExit(f"{name} is imported")
sys.meta_path.insert(0, Heavy())
sys.argv = ["vidlake", "extract", "in"]
from pipeline.cli.starting import main
main()
"""
    ours, its = pty.openpty()
    run = subprocess.run([sys.executable, "-c", program], stderr=its, stdout=its, check=False, timeout=PATIENCE_S)
    os.close(its)
    said = os.read(ours, 4096).decode().splitlines()
    os.close(ours)
    assert run.returncode == 1
    assert said[0].startswith("vidlake extract: starting Ray")
    assert said[1].endswith("is imported")
