"""Feature steps and pooling: the numbers that scikit-learn and plain loops give."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize

from pipeline.models.heads.pooling import pool
from pipeline.models.heads.steps import L2, Delta, Pca, Standardize, apply_steps, arrays_of, shapes_of, steps_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5)).astype(np.float32)
RUNS = np.array([0] * 5 + [1] * 3 + [0] * 4)


def test_l2_makes_vectors_of_length_one_and_leaves_zeros() -> None:
    x = np.concatenate([X, np.zeros((1, 5), np.float32)])
    assert L2().apply(x, runs=np.arange(13)) == pytest.approx(normalize(x), abs=1e-6)


def test_standardize_and_pca_are_those_of_scikit_learn() -> None:
    scaler, pca = StandardScaler().fit(X), PCA(3).fit(X)
    ours = Standardize(mean=scaler.mean_.astype(np.float32), scale=scaler.scale_.astype(np.float32))
    assert ours.apply(X, runs=RUNS) == pytest.approx(scaler.transform(X), abs=1e-5)
    projection = Pca(mean=pca.mean_.astype(np.float32), components=pca.components_.astype(np.float32))
    assert projection.apply(X, runs=RUNS) == pytest.approx(pca.transform(X), abs=1e-5)


def test_delta_does_not_look_back_into_another_run() -> None:
    joined = Delta().apply(X, runs=RUNS)
    before = np.array([X[at - 1] if at not in (0, 5, 8) else X[at] for at in range(12)])
    assert np.array_equal(joined, np.concatenate([X, X - before], axis=1))
    assert Delta().apply(X[:0], runs=RUNS[:0]).shape == (0, 10)


def test_steps_come_in_their_order_and_back_from_their_arrays() -> None:
    names = ["l2", "delta", "standardize", "pca:2"]
    shapes, dim = shapes_of(names, dim=5)
    assert dim == 2
    arrays = {name: RNG.uniform(1, 2, shape.sizes).astype(np.float32) for name, shape in shapes.items()}  # type: ignore[arg-type]
    assert set(arrays) == {"step2.mean", "step2.scale", "step3.mean", "step3.components"}
    steps = steps_of(names, arrays)
    assert {name: id(array) for name, array in arrays_of(steps).items()} == {n: id(a) for n, a in arrays.items()}
    delta = Delta().apply(L2().apply(X, runs=RUNS), runs=RUNS)
    scaled = (delta - arrays["step2.mean"]) / arrays["step2.scale"]
    expected = (scaled - arrays["step3.mean"]) @ arrays["step3.components"].T
    assert apply_steps(steps, X, runs=RUNS) == pytest.approx(expected, abs=1e-6)


def test_steps_that_cannot_be_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(ValueError, match="give at most pca:5"):
        shapes_of(["pca:6"], dim=5)
    with pytest.raises(ValueError, match="a head takes at most"):
        shapes_of(["delta"] * 40, dim=5)
    with pytest.raises(ValueError, match="not above zero"):
        steps_of(["standardize"], {"step0.mean": X[0], "step0.scale": np.zeros(5, np.float32)})


UNITS = [(0, 12), (0, 1), (3, 7), (4, 12), (11, 12), (2, 3), (5, 9)]
WAYS = {"mean": np.mean, "std": np.std, "max": np.max}


@pytest.mark.parametrize("units", [UNITS, UNITS[1:2], [(4, 12), (4, 12)]], ids=["overlapping", "a-frame", "twice"])
@pytest.mark.parametrize("ways", [["mean"], ["std"], ["max", "mean", "std"]], ids="-".join)
def test_pooling_is_that_of_a_loop(units: list[tuple[int, int]], ways: list[str]) -> None:
    begin, end = np.array(units).T
    expected = [np.concatenate([WAYS[way](X[b:e].astype(np.float64), axis=0) for way in ways]) for b, e in units]
    pooled = pool(X, begin, end, ways)
    assert pooled.dtype == np.float32
    assert pooled == pytest.approx(np.array(expected), abs=1e-6)


def test_the_mean_of_a_frame_is_the_frame_and_its_deviation_zero() -> None:
    begin = np.array([3, 0, 7])
    assert np.array_equal(
        pool(X, begin, begin + 1, ["mean", "std", "max"]), np.hstack([X[begin], X[begin] * 0, X[begin]])
    )
    mixed = pool(X, np.array([3, 0]), np.array([4, 9]), ["mean", "std"])
    assert np.array_equal(mixed[0], np.concatenate([X[3], np.zeros(5)]))


def test_a_unit_is_pooled_alike_with_any_neighbours() -> None:
    x = RNG.normal(size=(3000, 4)).astype(np.float32) + 100
    begin, end = np.array([5, 0, 2500]), np.array([2900, 3000, 2600])
    alone = [pool(x, begin[at : at + 1], end[at : at + 1], ["mean", "std"])[0] for at in range(3)]
    assert np.array_equal(pool(x, begin, end, ["mean", "std"]), alone)
