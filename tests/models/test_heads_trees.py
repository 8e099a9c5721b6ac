"""Trees as plain arrays: scikit-learn's probabilities, and nothing that a tampered file could make of them."""

import time
from typing import Any

import numpy as np
import pytest
from heads import backbone, head_info
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from pipeline.models.heads.head import Head
from pipeline.models.heads.trees import MAX_DEPTH, trees_from
from pipeline.training.fitting.tree_arrays import boosting_arrays, tree_arrays

RNG = np.random.default_rng(2)
X = RNG.normal(size=(600, 6)).astype(np.float32)
Y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.8)
SEVERAL = np.stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 1, X[:, 3] > -1], axis=1).astype(np.int64)
LABELS = ("ant", "bee", "cat")


def trained(kind: str, model: Any, y: NDArray[np.int64], *, labels: tuple[str, ...] = LABELS, **options: Any) -> Head:
    info = head_info(kind, labels=labels, is_multi_label=y.ndim > 1, **options)
    model.fit(X, y)
    if kind == "boosting":
        return Head(info, boosting_arrays(model), digest="")
    return Head(info, tree_arrays(model, num_labels=len(labels), is_multi_label=y.ndim > 1), digest="")


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("tree", DecisionTreeClassifier(random_state=0)),
        ("tree", DecisionTreeClassifier(random_state=0, max_depth=3, class_weight="balanced")),
        ("forest", RandomForestClassifier(20, random_state=0)),
        ("boosting", HistGradientBoostingClassifier(max_iter=20, random_state=0)),
    ],
    ids=["tree", "shallow-tree", "forest", "boosting"],
)
def test_probabilities_are_those_of_scikit_learn(kind: str, model: Any) -> None:
    head = trained(kind, model, Y)
    unseen = RNG.normal(size=(500, 6)).astype(np.float32)
    assert head.frames(unseen) == pytest.approx(model.predict_proba(unseen), abs=1e-6)
    assert head.frames(unseen[:1]) == pytest.approx(model.predict_proba(unseen[:1]), abs=1e-6)


def test_boosting_of_two_labels_is_that_of_scikit_learn() -> None:
    model = HistGradientBoostingClassifier(max_iter=10, random_state=0)
    head = trained("boosting", model, (Y > 0).astype(np.int64), labels=("no", "yes"))
    assert head.frames(X) == pytest.approx(model.predict_proba(X), abs=1e-6)


def test_boosting_with_class_weights_has_the_odds_of_other_frequencies() -> None:
    model = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(X, Y)
    weights = np.array([1.0, 4.0, 0.5])
    head = Head(head_info("boosting"), boosting_arrays(model, class_weights=weights), digest="")
    weighted = model.predict_proba(X) * weights
    assert head.frames(X) == pytest.approx(weighted / weighted.sum(axis=1, keepdims=True), abs=1e-6)
    model = model.fit(X, Y > 0)
    info = head_info("boosting", labels=("no", "yes"))
    head = Head(info, boosting_arrays(model, class_weights=weights[:2]), digest="")
    weighted = model.predict_proba(X) * weights[:2]
    assert head.frames(X) == pytest.approx(weighted / weighted.sum(axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("tree", DecisionTreeClassifier(random_state=0, max_depth=4)),
        ("forest", RandomForestClassifier(10, random_state=0)),
    ],
)
def test_several_labels_are_the_outputs_of_scikit_learn(kind: str, model: Any) -> None:
    head = trained(kind, model, SEVERAL)
    expected = np.stack([label[:, 1] for label in model.predict_proba(X)], axis=1)
    assert head.frames(X) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["tree", "forest"])
def test_labels_that_the_training_part_lacks_or_all_of_it_has_are_told(kind: str) -> None:
    make = {"tree": DecisionTreeClassifier(random_state=0), "forest": RandomForestClassifier(5, random_state=0)}
    always, never = np.ones(600, np.int64), np.zeros(600, np.int64)
    said = trained(kind, make[kind], np.stack([always, SEVERAL[:, 0], never], axis=1)).frames(X)
    assert said[:, 0].tolist() == [1] * 600
    assert said[:, 2].tolist() == [0] * 600
    said = trained(kind, make[kind], 2 * SEVERAL[:, 0]).frames(X)
    assert said[:, 1].tolist() == [0] * 600
    assert said.argmax(axis=1).tolist() == (2 * SEVERAL[:, 0]).tolist()


@pytest.mark.parametrize("is_several", [False, True], ids=["one-label", "several"])
def test_a_temperature_softens_what_trees_are_sure_of(is_several: bool) -> None:
    y, model = (SEVERAL if is_several else Y), DecisionTreeClassifier(random_state=0)
    sure, soft = trained("tree", model, y).frames(X), trained("tree", model, y, temperature=4.0).frames(X)
    assert set(np.unique(sure)) == {0.0, 1.0}
    p = np.clip(sure.astype(np.float64), 1e-6, 1 - 1e-6 if is_several else 1)
    powers = (p / (1 - p)) ** 0.25 if is_several else p**0.25
    expected = powers / (1 + powers) if is_several else powers / powers.sum(axis=1, keepdims=True)
    assert soft == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_a_forest_of_a_hundred_trees_answers_a_picture_in_three_milliseconds() -> None:
    x = RNG.normal(size=(2000, 200)).astype(np.float32)
    model = RandomForestClassifier(100, random_state=0).fit(x, (x[:, 0] + RNG.normal(size=2000) > 0).astype(np.int64))
    info = head_info("forest", labels=("no", "yes"), backbones=(backbone(dim=200),))
    head = Head(info, tree_arrays(model, num_labels=2), digest="")
    times = []
    for _ in range(50):
        began = time.perf_counter()
        head.frames(x[:1])
        times.append(time.perf_counter() - began)
    assert min(times) < 0.003


def a_tree(**changes: Any) -> dict[str, NDArray[Any]]:
    """Two questions, three leaves."""
    arrays: dict[str, NDArray[Any]] = {
        "roots": np.array([0]),
        "left": np.array([1, -1, 3, -1, -1]),
        "right": np.array([2, -1, 4, -1, -1]),
        "feature": np.array([0, 0, 5, 0, 0]),
        "threshold": np.zeros(5),
        "values": np.eye(3),
    }
    return {**arrays, **{name: np.array(values) for name, values in changes.items()}}


def test_a_small_tree_by_hand() -> None:
    x = np.zeros((3, 6), np.float32)
    x[1:, 0] = 1
    x[2, 5] = 1
    assert trees_from(a_tree(), dim=6).reached(x)[0].tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"left": [1, -1, 0, -1, -1]}, "does not come after it", id="a-circle"),
        pytest.param({"left": [0, -1, 3, -1, -1]}, "does not come after it", id="itself"),
        pytest.param({"right": [2, -1, 5, -1, -1]}, "does not come after it", id="beyond-the-nodes"),
        pytest.param({"right": [2, -1, -7, -1, -1]}, "does not come after it", id="negative"),
        pytest.param({"right": [2, -1, -1, -1, -1]}, "one child", id="one-child"),
        pytest.param({"left": [2, -1, 3, -1, -1]}, "no parent, or several", id="two-parents"),
        pytest.param({"roots": [0, 2]}, "no parent, or several", id="a-root-within"),
        pytest.param({"roots": [9]}, "no roots among", id="root-beyond"),
        pytest.param({"roots": np.empty(0, np.int64)}, "no roots among", id="no-roots"),
        pytest.param({"feature": [0, 0, 6, 0, 0]}, "beyond the 6 values", id="feature-beyond"),
        pytest.param({"feature": [0, 0, -1, 0, 0]}, "beyond the 6 values", id="feature-negative"),
        pytest.param({"values": np.eye(3)[:2]}, "2 values for 3 leaves", id="too-few-values"),
        pytest.param({"threshold": np.zeros(4)}, "different lengths", id="lengths"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trees_from(a_tree(**changes), dim=6)


def test_a_tree_of_endless_questions_is_refused() -> None:
    num = 2 * (MAX_DEPTH + 1) + 1
    left, right = np.full(num, -1), np.full(num, -1)
    left[0 : num - 1 : 2] = np.arange(1, num, 2)
    right[0 : num - 1 : 2] = np.arange(2, num, 2)
    arrays = {"left": left, "right": right, "feature": np.zeros(num, np.int64), "threshold": np.zeros(num)}
    with pytest.raises(ValueError, match="deeper than"):
        trees_from(a_tree(**arrays, values=np.zeros((num // 2 + 1, 3))), dim=6)
