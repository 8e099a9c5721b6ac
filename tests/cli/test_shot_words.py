"""What the command line makes of ``--sample shots:N`` before anything is started."""

from pathlib import Path

import pytest
from command import refused
from lakes import MODEL


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--sample", "shots:1"], "find them by `vidlake shots", id="no-shots-in-out"),
        pytest.param(["--sample", "shots:1", "--shots", "nothing"], "no shots at nothing", id="no-shots-there"),
        pytest.param(["--sample", "fps:1", "--shots", "nothing"], "--shots goes with --sample shots:N", id="not-asked"),
        pytest.param(["--sample", "shots:0"], "bad sampling rule", id="no-frames"),
    ],
)
def test_missing_shots_are_refused_with_the_command_that_makes_them(
    tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "film.mp4").touch()
    assert message in refused("extract", tmp_path, "--out", tmp_path / "lake", *MODEL, *words)
    assert not (tmp_path / "lake").exists()
