"""Feature steps are fitted on the samples of the training part, each once; what is kept on disk is what a head sees."""

import os
from pathlib import Path

import numpy as np
import pytest
from examples import examples, video
from other_runs import kill, line, process
from sklearn.decomposition import PCA

from pipeline.errors import UsageError
from pipeline.models.heads.pooling import pool
from pipeline.models.heads.steps import Delta, Pca, Standardize, apply_steps
from pipeline.training.fitting import scratch
from pipeline.training.fitting.scratch import scratch_folder, write_parts
from pipeline.training.fitting.step_fitting import FLOOR, fit_steps
from pipeline.training.fitting.stored_rows import StoredRows

RNG = np.random.default_rng(4)
X = (RNG.normal(size=(60, 4)) * [1, 5, 0.001, 2] + 100).astype(np.float32)
Y = np.zeros(60, np.int64)


def test_standardize_is_of_each_training_sample_once() -> None:
    """Windows overlap, one sample has no label, and the second video is for the test."""
    labels = np.where(np.arange(60) == 0, -1, 0)
    lake = examples(
        video(X[:40], labels[:40], unit="window:2/0.4"),
        video(X[40:50], Y[40:50], part="test"),
        video(X[50:], Y[50:], part=["train"] * 4 + ["validation"] * 6),
    )
    [step] = fit_steps(lake, ["standardize"])
    assert isinstance(step, Standardize)
    # The first window begins with the sample that has no label; the second one begins with sample 2.
    seen = np.concatenate([X[2:40], X[50:54]]).astype(np.float64)
    deviation = seen.std(axis=0)
    assert step.mean == pytest.approx(seen.mean(axis=0), rel=1e-6)
    assert step.scale == pytest.approx(np.maximum(deviation, FLOOR * deviation.mean()), rel=1e-5)
    assert step.scale[2] > 100 * deviation[2], "what hardly varies is not scaled up"


def test_dimensions_that_do_not_vary_at_all_are_left_at_their_scale() -> None:
    [step] = fit_steps(examples(video(np.full((5, 3), 7, np.float32), Y[:5])), ["standardize"])
    assert isinstance(step, Standardize)
    assert step.scale.tolist() == [1, 1, 1]


@pytest.mark.parametrize("names", [["pca:3"], ["l2", "standardize", "pca:2"], ["delta", "pca:4"]], ids="-".join)
def test_pca_is_that_of_scikit_learn_on_what_the_steps_before_give(names: list[str]) -> None:
    a, b = video(X[:40], Y[:40], epochs=(15,)), video(X[40:], Y[40:])
    steps = fit_steps(examples(a, b), names)
    before = np.concatenate([apply_steps(steps[:-1], v.features, runs=v.samples.epochs) for v in (a, b)])
    last = steps[-1]
    assert isinstance(last, Pca)
    reference = PCA(len(last.components)).fit(before.astype(np.float64))
    assert last.mean == pytest.approx(reference.mean_, rel=1e-5)
    assert last.components == pytest.approx(reference.components_, abs=1e-4)


def test_the_same_samples_give_the_same_numbers() -> None:
    lake = examples(video(X, Y))
    first, second = (fit_steps(lake, ["standardize", "pca:2"])[-1].arrays() for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_pca_without_enough_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="pca:4: needs as many training samples, and there are 3"):
        fit_steps(examples(video(X[:3], Y[:3])), ["pca:4"])
    with pytest.raises(UsageError, match="give at most pca:4"):
        fit_steps(examples(video(X, Y)), ["pca:5"])


@pytest.mark.parametrize("unit", ["frame", "window:2/0.6", "video"])
def test_the_vectors_of_each_part_are_those_of_the_head(tmp_path: Path, unit: str) -> None:
    videos = [
        video(X[:30], Y[:30], unit=unit, group=1),
        video(X[30:], Y[30:], unit=unit, group=2),
        video(X[:9] * 2, Y[:9] + 1, part="test", unit=unit, group=3),
    ]
    parts = write_parts(examples(*videos), [Delta()], pool_ways=["mean", "std"], is_sequences=False, folder=tmp_path)
    expected = [
        pool(Delta().apply(v.features, runs=v.samples.epochs), v.units.begin, v.units.end, ["mean", "std"])
        for v in videos
    ]
    assert np.array_equal(parts["train"].rows.span(0, len(parts["train"])), np.concatenate(expected[:2]))
    assert np.array_equal(parts["test"].rows.span(0, len(parts["test"])), expected[2])
    assert parts["train"].groups.tolist() == [1] * len(videos[0].units) + [2] * len(videos[1].units)
    assert parts["test"].targets.tolist() == [[0, 1, 0]] * len(videos[2].units)
    assert (len(parts["validation"]), len(parts["test"])) == (0, len(videos[2].units))


def test_sequences_keep_each_sample_of_a_part_once(tmp_path: Path) -> None:
    labels = np.where(np.arange(30) < 10, -1, 0)
    videos = [video(X[:30], labels, unit="window:2/0.6"), video(X[30:], Y[30:], unit="window:2/0.6")]
    part = write_parts(examples(*videos), [], pool_ways=["mean"], is_sequences=True, folder=tmp_path)["train"]
    units = [v.features[b:e] for v in videos for b, e in zip(v.units.begin, v.units.end, strict=True)]
    assert all(np.array_equal(part.rows.span(b, e), u) for b, e, u in zip(part.begin, part.end, units, strict=True))
    assert len(part.rows) == 18 + 30, "windows that begin at sample 12 and later"


def test_features_that_are_no_numbers_name_their_video(tmp_path: Path) -> None:
    broken = X.copy()
    broken[3, 1] = np.inf
    with pytest.raises(UsageError, match=r"b\.mp4: has features that are not finite"):
        write_parts(
            examples(video(broken, Y, uri="b.mp4")), [], pool_ways=["mean"], is_sequences=False, folder=tmp_path
        )


def test_rows_are_the_same_from_memory_and_from_the_disk(tmp_path: Path) -> None:
    X.tofile(tmp_path / "rows")
    for in_memory_bytes in (0, X.nbytes):
        rows = StoredRows(tmp_path / "rows", dim=4, in_memory_bytes=in_memory_bytes)
        assert rows.shape == (60, 4)
        assert np.array_equal(rows.take(np.array([7, 3, 59, 3])), X[[7, 3, 59, 3]])
        assert np.array_equal(rows.span(5, 9), X[5:9])
        assert rows.take(np.empty(0, np.int64)).shape == rows.span(3, 3).shape == (0, 4)
    (tmp_path / "rows").write_bytes(b"")
    rows = StoredRows(tmp_path / "rows", dim=4)
    assert rows.span(0, 0).shape == (0, 4)


def test_units_come_in_stretches_that_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_MOST_NUMBERS", 4 * 25)
    lake = examples(video(X, Y, unit="window:2"), video(X[:30], Y[:30], unit="video"))
    part = write_parts(lake, [], pool_ways=["mean"], is_sequences=True, folder=tmp_path)["train"]
    assert [places.tolist() for places in part.stretches()] == [[0, 1], [2, 3], [4, 5], [6]]
    assert [places.tolist() for places in part.stretches(np.array([6, 0, 3]))] == [[6], [0, 3]]
    rows, begin, end = part.units(np.array([6, 1]))
    assert np.array_equal(rows, np.concatenate([X[:30], X[10:20]]))
    assert (begin.tolist(), end.tolist()) == ([0, 30], [30, 40])


TRAINS_AND_WAITS = """
import sys, time
from pathlib import Path
from pipeline.training.fitting.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "rows").write_bytes(b"many")
    print("training", flush=True)
    time.sleep(600)
"""


def test_the_folder_goes_at_the_end_and_what_killed_runs_left_goes_with_the_next(tmp_path: Path) -> None:
    with process(TRAINS_AND_WAITS, str(tmp_path)) as living, process(TRAINS_AND_WAITS, str(tmp_path)) as dead:
        assert line(living) == line(dead) == "training"
        with scratch_folder(tmp_path) as folder:
            (folder / "part").mkdir()
            assert len(os.listdir(tmp_path)) == 3
        kill(dead)
        with scratch_folder(tmp_path):
            assert len(os.listdir(tmp_path)) == 2
        assert len(os.listdir(tmp_path)) == 1
