"""Which model a dataset or a head may name by itself: it is data, and whoever made it does not choose what runs here.

A model's name is looked up, and weights are read, when a dataset is served, retried or searched, or a head is served.
Names of vidlake's own registry, and weights that come with a library or out of a seed, can do no harm. A factory in a
module is code, and a file or an address is read: they count only where the command line repeats them.
"""

import re
import shlex
from dataclasses import replace

from pipeline.errors import UsageError
from pipeline.lake.dataset import DatasetInfo

_OWN_WEIGHTS = re.compile(r"default|random:\d{1,20}", re.ASCII)
_OWN_MODEL = re.compile(r"(timm/)?[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
"""What a name of the registry looks like: a factory has a colon. The registry says whether it has such a model."""


def trusted(info: DatasetInfo, *, uri: str, model: str | None, weights: str | None) -> DatasetInfo:
    """What a dataset says of itself, once all that it must not decide alone stands on the command line.

    Args:
        info: as ``Dataset.existing`` gives it.
        uri: of the dataset, for messages.
        model: the command line's ``--model``, if any.
        weights: the command line's ``--weights``, if any.

    Returns:
        The same, with the weights of the command line where it names some: they may lie elsewhere by now, and their
        digest is compared when they are loaded.

    Raises:
        UsageError: it names the options that are missing; or ``--model`` is another model than the dataset's.
    """
    name = info.config.model.name
    if model not in (None, name):
        raise UsageError(f"the model of {uri} is {shown(name)}, and not {shown(str(model))} as --model says")
    missing = []
    if model is None and not is_own_model(name):
        missing.append(f"--model {shown(name)}")
    if weights is None and not is_own_weights(info.weights):
        missing.append(f"--weights {shown(info.weights)}")
    if missing:
        raise UsageError(f"the model of {uri} is not vidlake's own; if you trust it, add {' '.join(missing)}")
    return info if weights is None else replace(info, weights=weights)


def is_own_model(name: str) -> bool:
    """Whether a name is looked up in vidlake's own registry, and is no code of somebody else's."""
    return _OWN_MODEL.fullmatch(name) is not None


def is_own_weights(weights: str) -> bool:
    """Whether weights come with a library or out of a seed, and not from a file or an address."""
    return _OWN_WEIGHTS.fullmatch(weights) is not None


def shown(word: str) -> str:
    """A word of the metadata as a shell takes it, in one line that does nothing to a terminal."""
    return shlex.quote(word) if word.isprintable() else ascii(word)
