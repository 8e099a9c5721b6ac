"""What a head says of an archive: a row a unit, the numbers of the head, and times that meet across segments."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from predictions import Here, head_for, predictions
from rows import dataset_info, features_of, finished, id_of, new_dataset, plan_table, planned

from pipeline.lake import pending_frames
from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import publish_plan
from pipeline.lake.tables import derive
from pipeline.lake.video_features import LakeFeatures
from pipeline.records.shards import WHOLE
from pipeline.stages import predict

NAMES = ("a", "b", "c")
COUNTS = {"a": (3, 0, 2), "b": (1, 1, 1), "c": (2, 0, 0)}


def lake(folder: Path, *, per_file: int = 2, is_derived: bool = True) -> tuple[Dataset, str]:
    """Segments with some, one or no samples, spread over files in any order."""
    dataset, token = new_dataset(folder)
    publish_plan(dataset, plan_table(*(planned(name, segments=3) for name in NAMES)), token=token)
    work = list(itertools.product((1, 2, 0), NAMES))
    for at in range(0, len(work), per_file):
        rows = [finished(name, segment, num_samples=COUNTS[name][segment]) for segment, name in work[at:][:per_file]]
        dataset.publish_features(pa.concat_tables(rows), dataset_info(), token=token)
    if is_derived:
        derive(dataset, shard=WHOLE, token=token)
    return dataset, token


def times_of(name: str) -> list[float]:
    return [segment * 12.0 + at for segment in range(3) for at in range(COUNTS[name][segment])]


@pytest.mark.parametrize("kind", ["linear", "mlp:5"])
@pytest.mark.parametrize("per_file", [1, 2, 9])
def test_a_row_a_frame_with_the_numbers_of_the_head(tmp_path: Path, kind: str, per_file: int) -> None:
    lake(tmp_path / "lake", per_file=per_file)
    info = head_for(tmp_path / "lake", kind)
    here = Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info)
    here.run()
    rows = predictions(tmp_path / "out")
    assert len(rows) == sum(map(sum, COUNTS.values()))
    for name in NAMES:
        mine = rows.filter(pa.compute.equal(rows["video_id"], id_of(name)))
        x = np.concatenate([features_of(name, segment, COUNTS[name][segment]) for segment in range(3)])
        assert here.head is not None
        expected = here.head.frames(x)
        assert np.allclose(np.array(mine["probabilities"].to_pylist(), np.float32), expected, atol=1e-6)
        assert mine["label"].to_pylist() == [info.labels[at] for at in expected.argmax(axis=1)]
        assert np.allclose(mine["probability"].to_numpy(), expected.max(axis=1), atol=1e-6)
        assert set(mine["uri"].to_pylist()) == {f"/videos/{name}.mp4"}
        assert mine["time_s"].to_pylist() == times_of(name)
        assert mine["pts"].to_pylist() == [int(1000 * time) for time in times_of(name)]


@pytest.mark.parametrize("per_file", [1, 2, 9])
@pytest.mark.parametrize(("piece_rows", "at_once"), [(1, 1), (1, 1000), (1000, 1000)])
@pytest.mark.parametrize("is_derived", [True, False], ids=["known-ends", "unknown-ends"])
@pytest.mark.quick_one_in(5)
def test_frame_ends_where_the_next_one_of_its_video_begins(
    tmp_path: Path, per_file: int, piece_rows: int, at_once: int, is_derived: bool
) -> None:
    """Wherever that lies; what the units of the whole video say is right."""
    lake(tmp_path / "lake", per_file=per_file, is_derived=is_derived)
    info = head_for(tmp_path / "lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending_frames, "_PIECES_AT_ONCE", at_once)
        Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info).run(piece_rows=piece_rows)
    rows = predictions(tmp_path / "out")
    for video in LakeFeatures.at(str(tmp_path / "lake")).read():
        mine = rows.filter(pa.compute.equal(rows["video_id"], video.video_id))
        assert mine["end_s"].to_pylist() == info.unit.of(video.samples).end_s.tolist()


def test_frame_before_a_segment_that_is_still_to_come_ends_where_that_is_planned(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    publish_plan(dataset, plan_table(planned("a", segments=3)), token=token)
    for segment in (0, 2):
        dataset.publish_features(finished("a", segment, num_samples=2), dataset_info(), token=token)
    Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", head_for(tmp_path / "lake")).run()
    assert predictions(tmp_path / "out")["end_s"].to_pylist()[:3] == [1.0, 12.0, 25.0]


@pytest.mark.parametrize("unit", ["window:2", "window:3/1", "video"])
@pytest.mark.parametrize("kind", ["linear", "gru:4"])
def test_a_row_a_unit_of_several_samples(tmp_path: Path, kind: str, unit: str) -> None:
    lake(tmp_path / "lake")
    info = head_for(tmp_path / "lake", kind, unit=unit)
    here = Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info)
    here.run()
    rows = predictions(tmp_path / "out")
    expected: list[dict[str, Any]] = []
    for video in LakeFeatures.at(str(tmp_path / "lake")).read():
        assert here.head is not None
        answers = here.head.answer(video.features, video.samples)
        units = answers.units
        for at in range(len(units)):
            first = units.begin[at]
            key = (video.video_id, int(video.samples.pts[first]), units.time_s[at], units.end_s[at])
            expected.append({"key": key, "p": answers.probabilities[at]})
    expected.sort(key=lambda one: (one["key"][0], one["key"][2]))
    columns = (rows[name].to_pylist() for name in ("video_id", "pts", "time_s", "end_s"))
    assert list(zip(*columns, strict=True)) == [one["key"] for one in expected]
    assert np.allclose(rows["probabilities"].to_pylist(), [one["p"] for one in expected], atol=1e-6)


def test_frames_with_the_difference_to_the_one_before_know_it_across_segments(tmp_path: Path) -> None:
    lake(tmp_path / "lake")
    info = head_for(tmp_path / "lake", steps=("delta",))
    here = Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info)
    here.run()
    rows = predictions(tmp_path / "out")
    for video in LakeFeatures.at(str(tmp_path / "lake")).read():
        mine = rows.filter(pa.compute.equal(rows["video_id"], video.video_id))
        assert here.head is not None
        expected = here.head.answer(video.features, video.samples).probabilities
        assert np.allclose(mine["probabilities"].to_pylist(), expected, atol=1e-6)


@pytest.mark.parametrize("num_models", [1, 2])
@pytest.mark.parametrize(
    ("unit", "steps"), [("window:3", ()), ("window:5/2", ("delta",)), ("frame", ("delta",)), ("frame", ())]
)
@pytest.mark.quick_one_in(3)
def test_video_that_is_read_a_stretch_at_a_time_gets_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, steps: tuple[str, ...], num_models: int
) -> None:
    """So memory does not grow with the length of a video."""
    for model in range(num_models):
        dataset, token = new_dataset(tmp_path / "lake" / f"model-{model}")
        for segment in (1, 0, 2):
            rows = finished("a", segment, num_samples=(12, 11 + model, 9)[segment])
            dataset.publish_features(rows, dataset_info(), token=token)
    lake = tmp_path / "lake" if num_models > 1 else tmp_path / "lake" / "model-0"
    info = head_for(lake, unit=unit, steps=steps)
    for name, most_bytes in (("whole", 1 << 20), ("pieces", 7 * 16 * num_models)):
        monkeypatch.setattr(predict, "_LONG_BYTES", most_bytes)
        Here(lake, tmp_path / name, tmp_path / "heads", info).run()
    whole, pieces = (predictions(tmp_path / name) for name in ("whole", "pieces"))
    assert len(whole) > 7
    assert whole.drop_columns(["probability", "probabilities"]).equals(
        pieces.drop_columns(["probability", "probabilities"])
    )
    assert np.allclose(whole["probabilities"].to_pylist(), pieces["probabilities"].to_pylist(), atol=1e-6)


def test_several_labels_may_hold(tmp_path: Path) -> None:
    lake(tmp_path / "lake")
    info = head_for(tmp_path / "lake", is_multi_label=True)
    Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info).run()
    rows = predictions(tmp_path / "out")
    for row in rows.to_pylist():
        assert row["labels"] == [label for label, p in zip(info.labels, row["probabilities"], strict=True) if p > 0.5]
        assert row["label"] == info.labels[int(np.argmax(row["probabilities"]))]


def test_columns_and_what_made_them(tmp_path: Path) -> None:
    lake(tmp_path / "lake")
    info = head_for(tmp_path / "lake")
    Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info).run()
    path = next((tmp_path / "out" / "predictions").glob("*.parquet"))
    schema = pq.read_schema(path)
    assert [(field.name, str(field.type)) for field in schema] == [
        ("video_id", "string"),
        ("uri", "string"),
        ("epoch", "int32"),
        ("pts", "int64"),
        ("time_s", "double"),
        ("end_s", "double"),
        ("label", "string"),
        ("probability", "float"),
        ("probabilities", "fixed_size_list<element: float>[3]"),
    ]
    told = schema.metadata[b"vidlake"].decode()
    assert all(word in told for word in ('"head": "h"', '"version": 1', '"digest"', '"ant"', info.fingerprint))
