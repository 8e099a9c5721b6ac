"""Scores are scikit-learn's, leakage is found, and pictures and cards hold whatever a label is called."""

from pathlib import Path

import numpy as np
import pytest
from labelled_lakes import blob, make_lake
from labelling import written
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, precision_score

from pipeline.lake.video_features import LakeFeatures
from pipeline.records.periods import Period
from pipeline.records.units import Unit
from pipeline.training.labels.labelled_videos import read_labels
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.request import LabelOptions, SplitOptions
from pipeline.training.scoring import leakage
from pipeline.training.scoring.leakage import measure_leakage
from pipeline.training.scoring.markdown import table
from pipeline.training.scoring.metrics import Answered, baseline_of, gathered, scores_of
from pipeline.training.scoring.picture import confusion_png

RNG = np.random.default_rng(0)


def answered(num: int, *, num_labels: int = 3, thresholds: tuple[float, ...] = ()) -> Answered:
    rng = np.random.default_rng(num)
    probabilities = rng.dirichlet(np.ones(num_labels), num).astype(np.float32)
    targets = np.eye(num_labels, dtype=np.float32)[rng.integers(0, num_labels, num)]
    if thresholds:
        targets = (rng.random((num, num_labels)) < 0.4).astype(np.float32)
    labels = tuple("abcdef"[:num_labels])
    return Answered(labels=labels, targets=targets, probabilities=probabilities, thresholds=thresholds)


def test_scores_of_one_label_a_unit() -> None:
    units = answered(500)
    true, said = units.targets.argmax(axis=1), units.probabilities.argmax(axis=1)

    scores = scores_of(units)

    assert scores.totals.num_units == 500
    assert scores.totals.accuracy == pytest.approx((true == said).mean())
    recalls = [(said[true == label] == label).mean() for label in range(3)]
    assert scores.totals.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert scores.totals.macro_f1 == pytest.approx(f1_score(true, said, average="macro"))
    assert [list(row) for row in scores.confusion] == [
        [int(((true == row) & (said == column)).sum()) for column in range(3)] for row in range(3)
    ]
    b = scores.per_class["b"]
    assert b.recall == pytest.approx(recalls[1])
    assert b.precision == pytest.approx(precision_score(true == 1, said == 1))
    assert b.average_precision == pytest.approx(average_precision_score(true == 1, units.probabilities[:, 1]))
    assert b.units == (true == 1).sum()


def test_scores_of_several_labels_a_unit() -> None:
    units = answered(400, thresholds=(0.3, 0.3, 0.3))
    true, said = units.targets > 0, units.probabilities > 0.3

    scores = scores_of(units)

    assert scores.totals.accuracy == pytest.approx((true == said).all(axis=1).mean())
    assert scores.totals.macro_f1 == pytest.approx(f1_score(true, said, average="macro"))
    rates = [(said[:, at] == true[:, at])[true[:, at] == which].mean() for at in range(3) for which in (True, False)]
    assert scores.totals.balanced_accuracy == pytest.approx(np.mean(rates))
    assert all(sum(row) == 400 for row in scores.confusion)
    assert scores.confusion[0][3] == (true & said)[:, 0].sum()


def test_a_label_without_units_has_no_average_precision_and_counts_for_nothing() -> None:
    units = answered(100, num_labels=2)
    wider = Answered(
        labels=("a", "b", "never"),
        targets=np.pad(units.targets, ((0, 0), (0, 1))),
        probabilities=np.pad(units.probabilities, ((0, 0), (0, 1))),
        thresholds=(),
    )

    scores = scores_of(wider)

    assert scores.totals == scores_of(units).totals
    assert scores.per_class["never"].average_precision is None
    assert [len(row) for row in scores.confusion] == [3, 3, 3]


def test_the_baseline_always_says_the_commonest_label() -> None:
    units = answered(300)

    baseline = baseline_of(units, commonest="c")

    assert baseline.accuracy == pytest.approx(units.targets[:, 2].mean())
    assert baseline.balanced_accuracy == pytest.approx(1 / 3)


def test_answers_are_gathered_in_a_file_where_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = answered(1000)
    parts = np.split(units.probabilities, [10, 500])
    kinds = []
    for limit in (1 << 20, 10):
        monkeypatch.setattr("pipeline.training.scoring.metrics._IN_MEMORY_BYTES", limit)
        found = gathered(units.targets, iter(parts), labels=units.labels, thresholds=(), scratch=tmp_path)
        kinds.append(type(found.probabilities))
        assert np.array_equal(found.probabilities, units.probabilities)
    assert kinds == [np.ndarray, np.memmap]


def leaky(folder: Path, *, copied: int) -> LakeExamples:
    """Ten videos for training and ten for the test, of which some show what the first ones show."""
    train = {f"train{at}": blob(at % 2, 8, seed=at, spread=1.0) for at in range(10)}
    test = {
        f"test{at}": train[f"train{at}"] if at < copied else blob(at % 2, 8, seed=50 + at, spread=1.0)
        for at in range(10)
    }
    uri = make_lake(folder / "lake", {**train, **test})
    rows: list[dict[str, object]] = [
        {"uri": f"{name}.mp4", "label": "xy"[int(name[-1]) % 2], "split": name[:-1]} for name in (*train, *test)
    ]
    options = LabelOptions(file=written(folder / "labels.csv", rows), column="label")
    lake = LakeFeatures.at(uri)
    return LakeExamples.of(
        lake,
        read_labels(lake, options),
        options=options,
        split=SplitOptions(),
        unit=Unit.parse("window:4"),
        period=Period(),
    )


def right_where_copied(examples: LakeExamples, *, copied: int) -> Answered:
    """Answers that are right for copies alone."""
    targets: list[NDArray[np.float32]] = []
    said: list[NDArray[np.float32]] = []
    for video in examples.of_part("test"):
        is_copy = int(video.uri[-5]) < copied
        targets.append(video.targets)
        said.append(video.targets if is_copy else 1 - video.targets)
    return Answered(
        labels=("x", "y"), targets=np.concatenate(targets), probabilities=np.concatenate(said), thresholds=()
    )


@pytest.mark.parametrize("copied", [0, 3, 10])
def test_test_units_that_training_has_seen_are_counted_and_the_others_scored(tmp_path: Path, copied: int) -> None:
    examples = leaky(tmp_path, copied=copied)

    found = measure_leakage(examples, right_where_copied(examples, copied=copied), seed=0)

    assert (found.num_units, found.num_test_units, found.num_training_units) == (20, 20, 20)
    assert found.share == pytest.approx(copied / 10)
    if copied == 10:
        assert found.without is None
    else:
        assert found.without is not None
        assert (found.without.num_units, found.without.accuracy) == (20 - 2 * copied, 0)


def test_of_many_test_units_some_are_drawn_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "MOST_UNITS", 7)
    examples = leaky(tmp_path, copied=5)
    units = right_where_copied(examples, copied=5)

    found = [measure_leakage(examples, units, seed=seed) for seed in (1, 1, 2, 3)]

    assert [each.num_units for each in found] == [7] * 4
    assert found[0] == found[1]
    assert len({each.share for each in found}) > 1


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_the_same_matrix_is_the_same_picture_whatever_labels_are_called(is_multi_label: bool) -> None:
    labels = ("$\\frac$", "一" * 99, "a\nb")
    confusion: tuple[tuple[int, ...], ...] = ((5, 1, 0), (0, 0, 0), (2, 2, 9))
    if is_multi_label:
        confusion = ((5, 1, 0, 2), (8, 0, 0, 0), (2, 2, 3, 1))

    first, second = (
        confusion_png(confusion, labels, title="h@1, test", is_multi_label=is_multi_label) for _ in range(2)
    )

    assert first == second
    assert first[:4] == b"\x89PNG"
    assert b"matplotlib" not in first


def test_pictures_of_many_labels_stay_small() -> None:
    confusion = tuple(map(tuple, RNG.integers(0, 9, (300, 300)).tolist()))

    picture = confusion_png(confusion, tuple(f"label {at}" for at in range(300)), title="h@1", is_multi_label=False)

    assert len(picture) < 3 << 20


def test_a_label_is_one_field_of_a_card_whatever_it_holds() -> None:
    assert table(["label"], [["a|b\n`c`"]]).splitlines()[-1] == "| a\\|b 'c' |"
