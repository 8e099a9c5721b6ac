"""When a sample of a file was captured: what its container says of the first frame, and the sample's own time."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from rows import DIM, segment, task

from pipeline.records.rows import embedded_rows, feature_table, output_rows, samples_row
from pipeline.records.segments import FrameMark, SegmentSamples
from pipeline.records.tables import features_table
from pipeline.records.videos import SegmentTask


@pytest.mark.parametrize(
    ("creation_time", "moments"),
    [
        pytest.param("2023-11-14T22:13:20.123456Z", [20.123456, 21.123456], id="what-the-file-says-and-its-time"),
        pytest.param("2023-11-15T00:13:20+02:00", [20.0, 21.0], id="another-zone"),
        pytest.param("some day", [None, None], id="no-time"),
        pytest.param(None, [None, None], id="nothing"),
    ],
)
def test_a_samples_moment_is_what_its_file_says(creation_time: str | None, moments: list[float | None]) -> None:
    piece = segment()
    marks = tuple(FrameMark(epoch=0, pts=at, time_s=float(at), is_keyframe=True, is_corrupt=False) for at in range(2))
    made = SegmentTask.from_row(task("a", piece))
    made = replace(made, facts=replace(made.facts, creation_time=creation_time))
    decoded = SegmentSamples(segment=piece, marks=marks, pixels=(np.zeros((2, 4, 4, 3), np.uint8),), failure=None)
    embedded = embedded_rows(output_rows(samples_row(made, decoded), [np.zeros((2, DIM), np.float32)]), place=0)
    rows = feature_table(embedded, schema=features_table(DIM, dtype="float32").schema)
    minute = datetime(2023, 11, 14, 22, 13, tzinfo=UTC)
    captured = [None if each is None else (each - minute).total_seconds() for each in rows["captured_at"].to_pylist()]
    assert captured == moments
