"""fit_head: what it learns; the same seed gives the same bytes, and so does a training that was killed and goes on."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from examples import MemoryCheckpoints, blob_arrays, examples, video
from heads import head_info
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from pipeline.errors import UsageError
from pipeline.models.heads.artifact import head_bytes
from pipeline.models.heads.head import Head
from pipeline.records.heads import HeadKind
from pipeline.records.units import Unit
from pipeline.training.examples import PARTS, Examples
from pipeline.training.fitting import network_fitting
from pipeline.training.fitting.fit import fit_head
from pipeline.training.fitting.fitted import Fitted
from pipeline.training.request import FitOptions

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("ant", "bee", "cat")
X, Y = blob_arrays(600)
LAKE = examples(
    video(X[:300], Y[:300]), video(X[300:400], Y[300:400], part="validation"), video(X[400:], Y[400:], part="test")
)
WITHOUT_VALIDATION = examples(video(X[:300], Y[:300]), video(X[400:], Y[400:], part="test"))
MANY = np.stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 3] > 1], axis=1)
SEVERAL = examples(
    video(X[:300], MANY[:300]),
    video(X[300:400], MANY[300:400], part="validation"),
    video(X[400:], MANY[400:], part="test"),
)


def options(kind: str = "linear", **changes: Any) -> FitOptions:
    name, _, hidden = kind.partition(":")
    made = FitOptions(kind=HeadKind(name=name, hidden=int(hidden) if hidden else None), unit=Unit.parse("frame"))
    return replace(made, **{"learning_rate": 0.01, "epochs": 30, **changes})


def fitted(
    folder: Path,
    chosen: FitOptions,
    lake: Examples = LAKE,
    *,
    is_multi_label: bool = False,
    checkpoints: MemoryCheckpoints | None = None,
    lines: list[str] | None = None,
) -> Fitted:
    scratch = folder / f"scratch{len(list(folder.iterdir()))}"
    scratch.mkdir()
    return fit_head(
        lake,
        chosen,
        LABELS,
        is_multi_label=is_multi_label,
        scratch_folder=scratch,
        checkpoints=checkpoints or MemoryCheckpoints(),
        say=(lines if lines is not None else []).append,
    )


def head_of(fit: Fitted, chosen: FitOptions, *, is_multi_label: bool = False) -> Head:
    """The head that is written, over the same number of values."""
    info = replace(
        head_info(labels=LABELS, is_multi_label=is_multi_label),
        kind=chosen.kind,
        unit=chosen.unit,
        steps=chosen.steps,
        pool=chosen.pool,
        thresholds=fit.thresholds,
        temperature=fit.temperature,
    )
    head_bytes(info, fit.arrays)
    return Head(info, fit.arrays, digest="")


def said(fit: Fitted, part: str) -> NDArray[np.float32]:
    return np.concatenate(list(fit.parts[part].probabilities()))


KINDS = [
    options("linear", steps=("standardize",)),
    options("mlp:16"),
    options("gru:8"),
    options("tree"),
    options("forest"),
    options("boosting"),
]


@pytest.mark.parametrize("chosen", KINDS, ids=lambda chosen: chosen.kind.name)
@pytest.mark.quick_one_in(4)
def test_every_kind_learns_and_the_written_head_says_what_was_measured(tmp_path: Path, chosen: FitOptions) -> None:
    fit = fitted(tmp_path, chosen)
    reference = LogisticRegression().fit(X[:300], Y[:300]).score(X[400:], Y[400:])
    probabilities = said(fit, "test")
    assert (probabilities.argmax(axis=1) == Y[400:]).mean() > reference - 0.1
    assert [len(fit.parts[part]) for part in PARTS] == [300, 100, 200]
    assert fit.parts["test"].targets().argmax(axis=1).tolist() == Y[400:].tolist()
    assert head_of(fit, chosen).frames(X[400:]) == pytest.approx(probabilities, abs=1e-6)
    assert (fit.num_units_used, fit.share_used) == (300, 1.0)


@pytest.mark.parametrize("kind", ["linear", "gru:8", "tree", "forest"])
def test_several_labels_are_learned_each_with_a_threshold(tmp_path: Path, kind: str) -> None:
    chosen = options(kind)
    fit = fitted(tmp_path, chosen, SEVERAL, is_multi_label=True)
    head = head_of(fit, chosen, is_multi_label=True)
    probabilities = head.frames(X[400:])
    assert probabilities == pytest.approx(said(fit, "test"), abs=1e-6)
    assert len(fit.thresholds) == 3
    assert (head.labels_of(probabilities).holds == MANY[400:]).mean() > 0.8
    with pytest.raises(UsageError, match="use forest"):
        fitted(tmp_path, options("boosting"), SEVERAL, is_multi_label=True)


def test_training_stops_when_the_validation_part_says_so_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    fit = fitted(tmp_path, options("mlp:64", epochs=200))
    losses = [epoch.validation_loss for epoch in fit.history]
    assert len(losses) < 200
    assert fit.best_epoch is not None
    assert len(losses) == fit.best_epoch + network_fitting.PATIENCE
    best = losses[fit.best_epoch - 1]
    assert best is not None
    assert best == pytest.approx(min(loss for loss in losses if loss is not None), rel=2e-4)


def test_without_a_validation_part_all_epochs_are_made_and_there_is_no_temperature(tmp_path: Path) -> None:
    fit = fitted(tmp_path, options("linear", epochs=7), WITHOUT_VALIDATION)
    assert (len(fit.history), fit.best_epoch, fit.temperature, fit.calibration) == (7, 7, None, None)
    assert all(epoch.validation_loss is None for epoch in fit.history)
    several = examples(video(X, MANY))
    assert fitted(tmp_path, options("tree"), several, is_multi_label=True).thresholds == (0.5, 0.5, 0.5)


def test_probabilities_are_calibrated_on_the_validation_part(tmp_path: Path) -> None:
    fit = fitted(tmp_path, options("tree"))
    assert fit.calibration is not None
    assert fit.calibration.after < fit.calibration.before
    assert fit.calibration.num_units == 100
    assert fit.temperature is not None
    assert fit.temperature > 1, "a tree is surer than it is right"


def numbers(fit: Fitted) -> Mapping[str, bytes]:
    return {name: np.ascontiguousarray(array).tobytes() for name, array in fit.arrays.items()}


@pytest.mark.parametrize("chosen", KINDS, ids=lambda chosen: chosen.kind.name)
def test_the_same_seed_gives_the_same_bytes_in_any_number_of_threads(tmp_path: Path, chosen: FitOptions) -> None:
    chosen = replace(chosen, epochs=3, seed=7)
    first = fitted(tmp_path, chosen)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        second = fitted(tmp_path, chosen)
        assert torch.get_num_threads() == threads + 1, "as it was before"
    finally:
        torch.set_num_threads(threads)
    assert numbers(first) == numbers(second)
    assert first.temperature == second.temperature
    is_drawn = chosen.kind.name not in ("boosting", "tree")  # those draw nothing where no two splits are as good
    assert not is_drawn or numbers(first) != numbers(fitted(tmp_path, replace(chosen, seed=8)))


@pytest.mark.parametrize("kind", ["mlp:8", "gru:4"])
@pytest.mark.parametrize("lake", [LAKE, WITHOUT_VALIDATION], ids=["validated", "all-epochs"])
@pytest.mark.quick_one_in(4)
def test_killed_training_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, lake: Examples
) -> None:
    monkeypatch.setattr(network_fitting, "SAVE_EVERY_S", 0.0)
    chosen = options(kind, epochs=6)
    calm, kept = fitted(tmp_path, chosen, lake), MemoryCheckpoints(dies_after=0)
    for dies_after in (1, 17, 18, 30, 44):  # within epochs and between them: an epoch is 10 minibatches
        kept.dies_after = dies_after
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path, chosen, lake, checkpoints=kept)
    kept.dies_after = None
    lines: list[str] = []
    last = fitted(tmp_path, chosen, lake, checkpoints=kept, lines=lines)
    assert numbers(last) == numbers(calm)
    assert (last.history, last.best_epoch, last.temperature) == (calm.history, calm.best_epoch, calm.temperature)
    assert "goes on after epoch" in lines[0]


@pytest.mark.parametrize(
    ("changes", "lake"),
    [
        ({"seed": 1}, LAKE),
        ({"learning_rate": 0.02}, LAKE),
        ({}, examples(video(X[:300] + 1, Y[:300]))),
        ({}, examples(video(X[:301], Y[:301]))),
    ],
    ids=["seed", "rate", "features", "units"],
)
def test_a_checkpoint_of_another_training_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], lake: Examples
) -> None:
    monkeypatch.setattr(network_fitting, "SAVE_EVERY_S", 0.0)
    kept, chosen = MemoryCheckpoints(dies_after=15), options("linear", epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, chosen, checkpoints=kept)
    kept.dies_after = None
    other = replace(chosen, **changes)
    assert numbers(fitted(tmp_path, other, lake, checkpoints=kept)) == numbers(fitted(tmp_path, other, lake))


@pytest.mark.parametrize("data", [b"", b"\x00" * 20, b"x" * 100, b"\xff" * 8 + b"{}"])
def test_a_checkpoint_that_is_damaged_is_passed_over(tmp_path: Path, data: bytes) -> None:
    chosen, kept = options("linear", epochs=2), MemoryCheckpoints(saved=[data])
    assert numbers(fitted(tmp_path, chosen, checkpoints=kept)) == numbers(fitted(tmp_path, chosen))


def test_balanced_weights_lift_a_rare_label(tmp_path: Path) -> None:
    x, y = blob_arrays(1500, spread=1.5)
    keep = (y != 2) | (np.arange(1500) % 12 == 0)
    x, y = x[keep], y[keep]
    lake = examples(video(x[:700], y[:700]), video(x[700:], y[700:], part="test"))
    says_rare = [
        (said(fitted(tmp_path, options("linear", class_weights=weights), lake), "test").argmax(axis=1) == 2).mean()
        for weights in ("none", "balanced")
    ]
    assert says_rare[1] > 1.5 * says_rare[0]


def test_windows_of_several_vectors_come_to_the_head_as_they_were_fitted(tmp_path: Path) -> None:
    chosen = options("linear", unit=Unit.parse("window:2/1"), steps=("delta", "standardize"), pool=("mean", "std"))
    rows, labels = blob_arrays(200)
    labels = np.sort(labels)
    tested = video(rows, labels, unit="window:2/1", part="test")
    fit = fitted(tmp_path, chosen, examples(video(rows, labels, unit="window:2/1"), tested))
    head = head_of(fit, chosen)
    assert head.answer(rows, tested.samples).probabilities == pytest.approx(said(fit, "test"), abs=1e-6)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (options("mlp:0"), "1 to 16384 units"),
        (options("linear", steps=("delta",) * 17), "at most 16 feature steps"),
        (options("linear", pool=()), "pools in one way"),
        (options("linear", unit=Unit.parse("window:1/0.0001")), "0.001 s apart"),
        (options("linear", steps=("pca:7",)), "at most pca:6"),
        (options("linear", epochs=0), "at least 1"),
        (options("linear", learning_rate=1e30), "at most 1000"),
    ],
    ids=["hidden", "steps", "pool", "windows", "pca", "epochs", "rate"],
)
def test_what_cannot_be_fitted_is_a_usage_error_in_one_line(tmp_path: Path, chosen: FitOptions, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        fitted(tmp_path, chosen)
    assert "\n" not in str(caught.value)


def test_training_that_does_not_converge_is_a_usage_error(tmp_path: Path) -> None:
    lake = examples(video(X * np.float32(3e37), Y))
    with pytest.raises(UsageError, match=r"did not converge at --learning-rate 1000"):
        fitted(tmp_path, options("mlp:4", learning_rate=1000.0), lake)


def test_nothing_to_train_on_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no unit of the training part"):
        fitted(tmp_path, options(), examples(video(X, Y, part="test")))


FITS = """
import hashlib, os, sys
import numpy as np
if sys.argv[1] == "one core":
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
from pathlib import Path
from test_fitting_heads import fitted, numbers, options
folder = Path(sys.argv[2])
for chosen in (options("mlp:8", epochs=2, steps=("standardize", "pca:4")), options("boosting"), options("forest")):
    fit = fitted(folder, chosen)
    print(hashlib.sha256(b"".join(numbers(fit).values())).hexdigest(), fit.temperature)
"""


@pytest.mark.slow
def test_one_core_gives_the_same_bytes_as_several(tmp_path: Path) -> None:
    said = []
    for cores in ("one core", "all cores"):
        (tmp_path / cores).mkdir()
        command = [sys.executable, "-c", FITS, cores, str(tmp_path / cores)]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "training")])
        environment = {**os.environ, "PYTHONPATH": paths}
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 3
