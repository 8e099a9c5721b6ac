"""The codecs of rows: nothing is copied that is large, and nothing depends on how a table is cut into chunks."""

import numpy as np
import pyarrow as pa
import pytest
from rows import DIM, FACTS, features_of, finished, id_of, planned, segment, task

from pipeline.records.rows import (
    embedded_rows,
    feature_table,
    last_attempts,
    output_rows,
    pictured_rows,
    pixels_of,
    samples_row,
    table_of,
)
from pipeline.records.schemas import EMBEDDED, PLAN, outputs_schema, samples_schema
from pipeline.records.segments import FrameMark, Segment, SegmentSamples, VideoFacts
from pipeline.records.tables import features_table, inputs_table
from pipeline.records.videos import SegmentTask

MARK = FrameMark(epoch=0, pts=40, time_s=0.04, is_keyframe=True, is_corrupt=False)


def samples(index: int, count: int) -> pa.Table:
    pixels = np.full((count, 4, 4, 3), index, np.uint8)
    decoded = SegmentSamples(segment=segment(index), marks=(MARK,) * count, pixels=(pixels,), failure=None)
    return samples_row(SegmentTask.from_row(task("a", segment(index))), decoded)


def test_a_segments_pictures_travel_without_a_copy() -> None:
    pixels = np.arange(2 * 48, dtype=np.uint8).reshape(2, 4, 4, 3)
    decoded = SegmentSamples(segment=segment(), marks=(MARK, MARK), pixels=(pixels,), failure=None)
    row = samples_row(SegmentTask.from_row(task("a", segment())), decoded)
    assert row.schema == samples_schema(1)
    [back] = pixels_of(row, height=4, width=4)
    assert np.array_equal(back, pixels)
    assert np.shares_memory(back, pixels)
    assert row["video_s"].to_pylist() == [12.0]


@pytest.mark.parametrize("is_combined", [False, True])
def test_pictures_and_features_do_not_depend_on_chunks(is_combined: bool) -> None:
    counts = [2, 0, 3, 1]
    table = pa.concat_tables([samples(9, 5), *(samples(at, count) for at, count in enumerate(counts))])
    table = (table.combine_chunks() if is_combined else table).slice(1)
    pictures = pixels_of(table, height=4, width=4)
    assert [len(each) for each in pictures] == counts
    assert [each.max(initial=0) for each in pictures] == [0, 0, 2, 3]
    features = np.arange(6 * DIM, dtype=np.float32).reshape(6, DIM)
    embedded = embedded_rows(output_rows(table, [features]), place=0)
    assert embedded.schema == EMBEDDED
    rows = feature_table(embedded.slice(2), schema=features_table(DIM, dtype="float32").schema)
    assert np.array_equal(np.array(rows["feature"].to_pylist()), features[2:])
    assert rows["segment"].to_pylist() == [2, 2, 2, 3]


def test_each_way_of_preparing_and_each_model_has_a_column_of_its_own() -> None:
    pixels = (np.full((2, 4, 4, 3), 5, np.uint8), np.full((2, 2, 6, 3), 9, np.uint8))
    decoded = SegmentSamples(segment=segment(), marks=(MARK, MARK), pixels=pixels, failure=None)
    row = samples_row(SegmentTask.from_row(task("a", segment())), decoded)
    assert row.schema == samples_schema(2)
    assert np.array_equal(pixels_of(row, height=4, width=4, place=0)[0], pixels[0])
    assert np.array_equal(pixels_of(row, height=2, width=6, place=1)[0], pixels[1])
    features = [np.full((2, dim), dim, np.float32) for dim in (3, 4, 5)]
    outputs = output_rows(row, features)
    assert outputs.schema == outputs_schema(3)
    for place, each in enumerate(features):
        embedded = embedded_rows(outputs, place=place)
        assert embedded.schema == EMBEDDED
        assert embedded["features"].to_pylist() == [each.tobytes()]


def test_pictures_are_kept_byte_for_byte_a_row_each() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    decoded = SegmentSamples(segment=segment(1), marks=(MARK,) * 3, pixels=(pixels,), failure=None)
    row = samples_row(SegmentTask.from_row(task("a", segment(1))), decoded)
    pictured = pictured_rows(pa.concat_tables([samples(0, 0), row]), place=0)
    assert pictured.schema == EMBEDDED
    rows = feature_table(pictured, schema=inputs_table(48).schema)
    assert rows["pixels"].to_pylist() == [picture.tobytes() for picture in pixels]
    assert rows["segment"].to_pylist() == [1, 1, 1]
    assert feature_table(EMBEDDED.empty_table(), schema=inputs_table(48).schema).num_rows == 0


def test_features_must_fit_the_samples() -> None:
    with pytest.raises(ValueError, match="not the features of 2 samples"):
        output_rows(samples(0, 2), [np.zeros((3, DIM), np.float32)])
    with pytest.raises(ValueError, match="float64"):
        output_rows(samples(0, 2), [np.zeros((2, DIM), np.float64)])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_segments_without_samples_give_no_rows(dtype: str) -> None:
    schema = features_table(DIM, dtype=dtype).schema  # type: ignore[arg-type]
    assert feature_table(finished("a", num_samples=0), schema=schema).num_rows == 0
    assert feature_table(EMBEDDED.empty_table(), schema=schema).schema == schema


def test_half_precision_rounds_and_overflows_to_infinity() -> None:
    features = np.array([[1 / 3, 1e6, -1e6, 0]], np.float32)
    embedded = embedded_rows(output_rows(samples(0, 1), [features]), place=0)
    rows = feature_table(embedded, schema=features_table(DIM, dtype="float16").schema)
    [value] = rows["feature"].to_pylist()
    assert value == [np.float16(1 / 3), np.inf, -np.inf, 0]


def test_pictures_beyond_two_gigabytes_are_found() -> None:
    one = 1_500_000_000 - 1_500_000_000 % 48
    room = np.zeros(2 * one, np.uint8)  # never touched but at its end, so it takes no memory
    room[-1] = 7
    offsets = pa.py_buffer(np.array([0, one, 2 * one], np.int64))
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 2, [None, offsets, pa.py_buffer(room)])
    first, second = pixels_of(pa.table({"pixels_0": column}), height=4, width=4)
    assert first.shape == second.shape == (one // 48, 4, 4, 3)
    assert second[-1, -1, -1, -1] == 7


def test_rows_are_stored_by_video_and_segment_each_once() -> None:
    table = pa.concat_tables([finished("b"), finished("a", 2), finished("a", 1), finished("a", 1, attempts=2)])
    found = last_attempts(table).select(["video_id", "segment", "attempts"]).to_pylist()
    keys = [(row["video_id"], row["segment"], row["attempts"]) for row in found]
    assert keys == sorted([(id_of("b"), 0, 1), (id_of("a"), 2, 1), (id_of("a"), 1, 2)])
    rows = feature_table(last_attempts(table), schema=features_table(DIM, dtype="float32").schema)
    expected = {"a": [1, 2], "b": [0]}
    parts = [features_of(name, index, 2) for name in sorted(expected, key=id_of) for index in expected[name]]
    assert np.array_equal(np.array(rows["feature"].to_pylist(), np.float32), np.concatenate(parts))


def test_plans_survive_their_table() -> None:
    [row] = table_of([planned("a", segments=2)], PLAN).to_pylist()
    assert VideoFacts.from_json(row["facts"]) == FACTS
    assert [Segment.from_json(document) for document in row["segments"]] == [segment(0), segment(1)]
