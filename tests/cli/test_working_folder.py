"""What lies in the folder where a command is called is data, whatever it is called."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from patience import PATIENCE_S
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

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert done.returncode == 0, done.stderr
    [rows] = (pq.read_table(path).num_rows for path in (tmp_path / "lake" / "features").glob("*.parquet"))
    assert rows == 2
    assert list(tmp_path.glob("*.ran")) == []
