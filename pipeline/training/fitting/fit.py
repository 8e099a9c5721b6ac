"""Fit a head: steps, then networks or trees, then one temperature and the thresholds."""

from pathlib import Path

from pipeline.training.examples import Examples
from pipeline.training.fitting.fitted import Checkpoints, Fitted, Say
from pipeline.training.request import FitOptions


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
    raise NotImplementedError
