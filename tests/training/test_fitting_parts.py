"""The parts of fitting: minibatches, losses, temperature, calibration error, thresholds, and which units trees get."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import blob_arrays, examples, video
from sklearn.metrics import f1_score
from torch.nn import functional

from pipeline.models.heads.probabilities import logits_of, of_logits
from pipeline.records.heads import HeadKind
from pipeline.records.units import Unit
from pipeline.training.fitting.calibration import expected_calibration_error, temperature_of, thresholds_of
from pipeline.training.fitting.losses import loss_of
from pipeline.training.fitting.minibatches import minibatches
from pipeline.training.fitting.scratch import Part, write_parts
from pipeline.training.fitting.tree_fitting import MOST_BYTES, chosen_units, grow, least_per_leaf
from pipeline.training.request import FitOptions

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("num", [1, 10, 64, 1000, (1 << 18) + 70])
def test_an_epoch_takes_each_unit_once_in_an_order_of_its_own(num: int) -> None:
    batches = list(minibatches(num, size=64, seed=3, epoch=2))
    assert [len(batch) for batch in batches[:-1]] == [64] * (len(batches) - 1)
    places = np.concatenate(batches)
    assert np.array_equal(np.sort(places), np.arange(num))
    assert np.array_equal(places, np.concatenate(list(minibatches(num, size=64, seed=3, epoch=2))))
    if num > 1:
        for seed, epoch in ((3, 3), (4, 2)):
            assert not np.array_equal(places, np.concatenate(list(minibatches(num, size=64, seed=seed, epoch=epoch))))


def test_balanced_weights_are_those_of_scikit_learn_and_torch() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    targets = np.eye(3, dtype=np.float32)[labels]
    loss = loss_of(targets, is_multi_label=False, class_weights="balanced")
    assert loss.weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    logits = torch.from_numpy(RNG.normal(size=(10, 3)).astype(np.float32))
    total, weight = loss.sums(logits, torch.from_numpy(targets))
    expected = functional.cross_entropy(logits, torch.from_numpy(labels), weight=loss.weights)
    assert float(total) / weight == pytest.approx(float(expected), rel=1e-6)
    plain = loss_of(targets, is_multi_label=False, class_weights="none")
    assert plain.weights.tolist() == [1, 1, 1]


def test_several_labels_weigh_what_is_rare_up_to_a_bound() -> None:
    targets = np.zeros((1000, 3), np.float32)
    targets[:250, 0] = targets[:1, 1] = 1
    loss = loss_of(targets, is_multi_label=True, class_weights="balanced")
    assert loss.weights.tolist() == [3, 100, 1]
    logits = torch.from_numpy(RNG.normal(size=(1000, 3)).astype(np.float32))
    total, weight = loss.sums(logits, torch.from_numpy(targets))
    expected = functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(targets), pos_weight=loss.weights)
    assert float(total) / weight == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("is_multi_label", [False, True], ids=["one-label", "several"])
def test_the_temperature_that_made_probabilities_unbelievable_is_found(true: float, is_multi_label: bool) -> None:
    logits = RNG.normal(size=(20_000, 3)) * 2
    probabilities = of_logits(logits, is_multi_label=is_multi_label, temperature=None)
    if is_multi_label:
        targets = (RNG.uniform(size=logits.shape) < probabilities).astype(np.float32)
    else:
        drawn = (RNG.uniform(size=(20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
        targets = np.eye(3, dtype=np.float32)[drawn]
    found = temperature_of(logits * true, targets, is_multi_label=is_multi_label)
    assert found == pytest.approx(true, rel=0.05)
    wrong, right = (
        expected_calibration_error(
            of_logits(logits * true, is_multi_label=is_multi_label, temperature=t),
            targets,
            is_multi_label=is_multi_label,
        )
        for t in (None, found)
    )
    assert right < 0.02
    assert right < wrong or true == 1.0


def test_the_temperature_is_the_best_of_all() -> None:
    logits, labels = RNG.normal(size=(50, 4)) * 3, RNG.integers(0, 4, 50)
    labels[:35] = logits[:35].argmax(axis=1)
    targets = np.eye(4, dtype=np.float32)[labels]
    soft = targets * (1 - 1 / 52) + 1 / 52 / 4

    def loss(log_t: float) -> float:
        log_p = functional.log_softmax(torch.from_numpy(logits / np.exp(log_t)), dim=1).numpy()
        return float(-(soft * log_p).sum(axis=1).mean())

    found = temperature_of(logits, targets, is_multi_label=False)
    assert loss(float(np.log(found))) <= min(map(loss, np.linspace(np.log(0.05), np.log(20), 300))) + 1e-9


def test_a_temperature_stays_within_reason_where_all_are_right() -> None:
    targets = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    found = temperature_of(targets.astype(np.float64) * 4, targets, is_multi_label=False)
    certainty = of_logits(targets[:1] * 4, is_multi_label=False, temperature=found).max()
    assert certainty == pytest.approx(1 - 1 / 42 / 2, abs=1e-3)
    sure = logits_of(targets.astype(np.float64), is_multi_label=False)
    assert np.isfinite(temperature_of(sure, 1 - targets, is_multi_label=False))


def test_the_calibration_error_is_that_of_its_definition() -> None:
    probabilities = RNG.dirichlet([1, 1, 1], 500).astype(np.float32)
    labels = RNG.integers(0, 3, 500)
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low, high in itertools.pairwise(np.linspace(0, 1, 16)):
        in_bin = (confidence >= low) & (confidence < high)
        if in_bin.any():
            expected += in_bin.mean() * abs(confidence[in_bin].mean() - is_right[in_bin].mean())
    found = expected_calibration_error(probabilities, np.eye(3, dtype=np.float32)[labels], is_multi_label=False)
    assert found == pytest.approx(expected, abs=1e-6)
    assert expected_calibration_error(probabilities[:0], np.zeros((0, 3), np.float32), is_multi_label=False) == 0


def test_thresholds_are_those_of_the_best_f1() -> None:
    probabilities = RNG.uniform(size=(60, 3)).astype(np.float32).round(1)
    targets = (RNG.uniform(size=(60, 3)) < probabilities**2).astype(np.float32)
    targets[:, 2] = 0
    thresholds = thresholds_of(probabilities, targets)
    for at in range(2):
        scores = [f1_score(targets[:, at], probabilities[:, at] > t) for t in np.linspace(0, 0.95, 20)]
        assert f1_score(targets[:, at], probabilities[:, at] > thresholds[at]) == pytest.approx(max(scores))
    assert thresholds[2] == 0.5
    assert thresholds_of(np.ones((3, 1), np.float32), np.ones((3, 1), np.float32)) == (0.5,)


def a_part(folder: Path, *, num: int = 200) -> Part:
    rows, labels = blob_arrays(num)
    labels[:] = np.where(np.arange(num) == 7, 2, labels % 2)
    return write_parts(examples(video(rows, labels)), [], pool_ways=["mean"], is_sequences=False, folder=folder)[
        "train"
    ]


def test_trees_get_as_many_units_as_fit_and_every_label(tmp_path: Path) -> None:
    part = a_part(tmp_path)
    assert np.array_equal(chosen_units(part, seed=0, most=200), np.arange(200))
    chosen = chosen_units(part, seed=0, most=20)
    assert len(chosen) == len(np.unique(chosen)) == 20
    assert 7 in chosen
    assert np.array_equal(chosen, chosen_units(part, seed=0, most=20))
    assert not np.array_equal(chosen, chosen_units(part, seed=1, most=20))
    options = FitOptions(kind=HeadKind(name="tree"), unit=Unit.parse("frame"))
    assert grow(part, options, is_multi_label=False, most_numbers=6 * 50).num_units_used == 50


@pytest.mark.parametrize(("num_units", "num_labels", "least"), [(1000, 3, 1), (100_000, 2, 1), (1_000_000, 1000, 753)])
def test_trees_stay_small_enough_to_be_read(num_units: int, num_labels: int, least: int) -> None:
    assert least_per_leaf(num_units, num_trees=100, num_labels=num_labels) == least
    num_leaves = 100 * num_units / least
    assert num_leaves * (2 * 40 + 8 * num_labels) <= MOST_BYTES
