"""Labels for tests: rows, and files of them."""

import csv
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.training.labels.label_rows import LabelRow


def written(path: Path, rows: list[dict[str, object]]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def row(video: str, label: str, **values: object) -> LabelRow:
    known: dict[str, object] = {"row": 1, "is_id": False, "start_s": 0.0, "end_s": math.inf, "part": None}
    return LabelRow(video=video, label=label, **{**known, "group": None, **values})  # type: ignore[arg-type]
