"""Fit a head: steps, then networks or trees, then one temperature and the thresholds."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.models.heads.head import check_recipe
from pipeline.models.heads.networks import network_of, network_shapes
from pipeline.models.heads.probabilities import of_logits
from pipeline.models.heads.scorers import NETWORK, scorer_of
from pipeline.models.heads.steps import arrays_of
from pipeline.models.preprocess import one_thread
from pipeline.records.heads import TREE_KINDS
from pipeline.training.examples import Examples
from pipeline.training.fitting.calibration import expected_calibration_error, temperature_of, thresholds_of
from pipeline.training.fitting.fitted import Calibration, Checkpoints, Epoch, Fitted, Say
from pipeline.training.fitting.losses import loss_of
from pipeline.training.fitting.network_fitting import Plan, Training
from pipeline.training.fitting.scored import ScoredPart, Scorer, logits_of_part
from pipeline.training.fitting.scratch import Part, write_parts
from pipeline.training.fitting.step_fitting import fit_steps
from pipeline.training.fitting.tree_fitting import grow
from pipeline.training.request import FitOptions

MAX_LEARNING_RATE = 1000.0

_ROWS_IN_IDENTITY = 4096


def fit_head(
    examples: Examples,
    options: FitOptions,
    labels: tuple[str, ...],
    *,
    is_multi_label: bool,
    scratch_folder: Path,
    checkpoints: Checkpoints,
    say: Say,
) -> Fitted:
    """Fit a head on the training part, watch it on the validation part.

    The same examples, options and labels give the same bytes on a CPU, however often it was killed on the way.

    Args:
        examples: the labelled units; read once for each fitted step, and once more.
        options: how.
        labels: the columns of the targets.
        is_multi_label: whether several of them may hold.
        scratch_folder: an empty folder on a local disk (``scratch.scratch_folder``); ``Fitted.parts`` lie in it.
        checkpoints: where a network's training is kept while it goes on; one of other examples is passed over.
        say: takes a line of progress now and then.

    Raises:
        UsageError: the examples, labels and options do not go together, or there is nothing to train on.
        StorageError: the lake, the disk or the place of the checkpoints failed.
    """
    check_options(options)
    with _same_sums():
        steps = fit_steps(examples, options.steps)
        is_sequences = options.kind.takes_sequences
        parts = write_parts(examples, steps, pool_ways=options.pool, is_sequences=is_sequences, folder=scratch_folder)
        training = parts["train"]
        if not len(training):
            raise UsageError("no unit of the training part has a label: nothing can be learned")
        fit = _fit_trees if options.kind.name in TREE_KINDS else _fit_network
        learned = fit(parts, options, is_multi_label=is_multi_label, checkpoints=checkpoints, say=say)
        shape = {"dim": training.rows.shape[1], "num_labels": len(labels)}
        scorer = scorer_of(options.kind, learned.arrays, **shape, is_multi_label=is_multi_label)
        trust = _trust(parts["validation"], scorer, num_labels=len(labels), is_multi_label=is_multi_label)
    return Fitted(
        arrays={**arrays_of(steps), **learned.arrays},
        temperature=trust.temperature,
        thresholds=trust.thresholds,
        history=learned.history,
        best_epoch=learned.best_epoch,
        num_units_used=learned.num_units_used,
        share_used=learned.num_units_used / len(training),
        calibration=trust.calibration,
        parts={name: ScoredPart(part, scorer, temperature=trust.temperature) for name, part in parts.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learned:
    """The numbers behind the feature steps, and how they were come by."""

    arrays: Mapping[str, NDArray[Any]]
    num_units_used: int
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trust:
    """What the validation part says of probabilities."""

    temperature: float | None
    thresholds: tuple[float, ...]
    calibration: Calibration | None


def check_options(options: FitOptions) -> None:
    """Make sure that a head can be fitted so, before anything is read.

    Raises:
        UsageError: it cannot.
    """
    try:
        check_recipe(options.kind, unit=options.unit, steps=options.steps, pool_ways=options.pool)
        if options.kind.name not in TREE_KINDS:
            network_shapes(options.kind, dim=1, num_labels=1)
    except ValueError as error:
        raise UsageError(f"--head {options.kind}: {error}") from None
    if options.epochs < 1 or not 0 < options.learning_rate <= MAX_LEARNING_RATE or (options.batch_size or 1) < 1:
        raise UsageError("--epochs and --batch-size are at least 1, --learning-rate is above 0 and at most 1000")


@contextlib.contextmanager
def _same_sums() -> Iterator[None]:
    """Sums of floats depend on how many threads share them: one gives the same bytes whatever the number of cores."""
    import sklearn.ensemble  # noqa: F401  # limits hold for the libraries that are loaded
    from threadpoolctl import threadpool_limits

    is_strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with one_thread(), threadpool_limits(limits=1):
            yield
    finally:
        torch.use_deterministic_algorithms(is_strict)


def _fit_trees(
    parts: Mapping[str, Part], options: FitOptions, *, is_multi_label: bool, checkpoints: Checkpoints, say: Say
) -> _Learned:
    """They keep no checkpoints: a run that was killed grows the same ones again."""
    training = parts["train"]
    grown = grow(training, options, is_multi_label=is_multi_label)
    if grown.num_units_used < len(training):
        say(f"grew from {grown.num_units_used} of {len(training)} training units, which is what fits into memory")
    return _Learned(arrays=grown.arrays, num_units_used=grown.num_units_used)


def _fit_network(
    parts: Mapping[str, Part], options: FitOptions, *, is_multi_label: bool, checkpoints: Checkpoints, say: Say
) -> _Learned:
    training, validation = parts["train"], parts["validation"]
    dim, num_labels = training.rows.shape[1], training.targets.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed % (1 << 63))
        network = network_of(options.kind, dim=dim, num_labels=num_labels)
    plan = Plan(
        loss=loss_of(training.targets, is_multi_label=is_multi_label, class_weights=options.class_weights),
        epochs=options.epochs,
        batch_size=options.batch_size or default_batch_size(len(training)),
        learning_rate=options.learning_rate,
        seed=options.seed,
        identity=_identity(options, [training, validation], is_multi_label=is_multi_label),
    )
    run = Training(network, plan, checkpoints=checkpoints, say=say)
    trained = run.run(training, validation if len(validation) else None)
    arrays = {f"{NETWORK}{name}": tensor.numpy() for name, tensor in trained.weights.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UsageError(f"training did not converge at --learning-rate {options.learning_rate:g}: give a smaller one")
    return _Learned(arrays=arrays, num_units_used=len(training), history=trained.history, best_epoch=trained.best_epoch)


def default_batch_size(num_units: int) -> int:
    """Of minibatches: small where there are few units, for each epoch is then few steps."""
    return 32 if num_units < 1 << 15 else 256


def _trust(part: Part, scorer: Scorer, *, num_labels: int, is_multi_label: bool) -> _Trust:
    if not len(part):
        return _Trust(temperature=None, thresholds=(0.5,) * num_labels if is_multi_label else (), calibration=None)
    logits, targets = logits_of_part(part, scorer)
    kind = {"is_multi_label": is_multi_label}
    temperature = temperature_of(logits, targets, **kind)
    before = of_logits(logits, **kind, temperature=None)
    after = of_logits(logits, **kind, temperature=temperature)
    return _Trust(
        temperature=temperature,
        thresholds=thresholds_of(after, targets) if is_multi_label else (),
        calibration=Calibration(
            before=expected_calibration_error(before, targets, **kind),
            after=expected_calibration_error(after, targets, **kind),
            num_units=len(targets),
        ),
    )


def _identity(options: FitOptions, parts: Sequence[Part], *, is_multi_label: bool) -> str:
    """What a training is of: one over other units, labels or options is another."""
    digest = hashlib.sha256(f"{torch.__version__} {options!r} {is_multi_label}".encode())
    for part in parts:
        digest.update(f"{len(part)} {part.rows.shape}".encode())
        for array in (part.targets, part.begin, part.end):
            digest.update(np.ascontiguousarray(array).data)
        places = np.linspace(0, max(0, len(part.rows) - 1), min(len(part.rows), _ROWS_IN_IDENTITY)).astype(np.int64)
        digest.update(part.rows.take(places).data)
    return digest.hexdigest()
