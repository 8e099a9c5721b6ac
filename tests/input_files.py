"""A small folder of files to list, and manifests that name them."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inputs.input_words import Inputs
from pipeline.storage.retry import RetryPolicy

QUICK = RetryPolicy(attempts=2, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.01, jitter_s=0.0)
SECRET = "s3cr3t"


def archive_in(folder: Path) -> Path:
    """A folder of files, some of them hidden; each holds its own name."""
    root = folder / "archive"
    for name in ("b.mp4", "a/2.ts", "a/1.csv", "a.mkv", "a/deep/x.mp4", ".hidden.mp4", ".git/y.mp4", "[1].mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def listed(words: Sequence[object], *, below: Path, exclude: Path | None = None) -> list[str]:
    """What INPUT words lead to, by paths relative to ``below``."""
    inputs = Inputs([str(word) for word in words], exclude=None if exclude is None else str(exclude), retry=QUICK)
    return [os.path.relpath(source.uri, below) for source in inputs]


def write_manifest(path: Path, rows: list[dict[str, object]]) -> Path:
    """A manifest of these rows, in the format that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines))
    return path
