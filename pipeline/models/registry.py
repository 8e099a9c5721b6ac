"""From a model's name to its network."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.models.network import LoadedModel, noted
from pipeline.models.weights import Weights, WeightsFile, parse_weights
from pipeline.models.weights_notes import read_notes

__all__ = ["LoadedModel", "ModelEntry", "has_default_weights", "list_models", "load_model", "load_shots_model"]

OWN_NAMES = ("efficientnet_lite0", "video_cnn")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A line of ``vidlake models``."""

    name: str
    dim: int | None
    """Length of a feature vector; ``None`` where it depends on the model that the user names."""
    weights: str
    """What ``--weights default`` means."""
    needs_download: bool
    """Whether ``--weights default`` fetches a file over the network when first used."""
    window: int | None = None
    """How many samples a model of clips takes at once, unless ``--window`` says otherwise; ``None``: of pictures."""


def load_model(name: str, *, weights: str, window: int | None = None) -> LoadedModel:
    """Find the network of this name, fill it, and take it apart.

    The libraries are imported only when a name needs them: timm alone takes seconds.

    Args:
        name: a torchvision classification model of pictures or clips, ``timm/NAME``, ``efficientnet_lite0``,
            ``video_cnn``, or ``module:factory``.
        weights: ``default``, ``random:SEED``, or the path of a weights file.
        window: how many samples a model of clips is to take at once; ``None``: as many as it was trained with.

    Raises:
        UsageError: no such model, weights or window, said in one line with what to do about it.
        WeightsError: the library's weights could not be downloaded.
    """
    choice = parse_weights(weights)
    model = _loaded(name, choice, window=window)
    if window is not None and model.info.preprocessing.window is None:
        raise UsageError(f"--window {window}: {name} takes pictures, each by itself; leave it out")
    notes = read_notes(choice.location) if isinstance(choice, WeightsFile) else None
    return model if notes is None else noted(model, notes, source=f"--weights {weights}")


def load_shots_model() -> LoadedModel:
    """The network that finds shots; it is no model of ``--model``.

    Raises:
        UsageError: it is not installed.
    """
    from pipeline.models.zoo import shot_model

    return shot_model.load()


def has_default_weights(name: str) -> bool:
    """Whether ``--weights default`` means something for a model; true of a name that ``load_model`` refuses."""
    if name == "video_cnn":
        return False
    if ":" in name or name == "efficientnet_lite0":
        return True
    if name.startswith("timm/"):
        from pipeline.models.zoo import timm_models

        architecture = name.removeprefix("timm/")
        return not timm_models.is_model(architecture) or timm_models.has_weights(architecture)
    from pipeline.models.zoo import torchvision_models

    return name not in torchvision_models.names() or torchvision_models.has_weights(name)


def _loaded(name: str, choice: Weights, *, window: int | None) -> LoadedModel:
    if ":" in name:
        from pipeline.models.zoo import own_models

        return own_models.load_from_factory(name, weights=choice)
    if name == "video_cnn":
        from pipeline.models.zoo import video_cnn

        return video_cnn.load(weights=choice)
    if name == "efficientnet_lite0":
        from pipeline.models.zoo import timm_models

        return timm_models.load_lite0(weights=choice)
    if name.startswith("timm/"):
        from pipeline.models.zoo import timm_models

        architecture = name.removeprefix("timm/")
        if not timm_models.is_model(architecture):
            raise _unknown(name, known=[f"timm/{other}" for other in timm_models.similar(architecture)])
        return timm_models.load(architecture, weights=choice)
    return _of_torchvision(name, choice, window=window)


def _of_torchvision(name: str, choice: Weights, *, window: int | None) -> LoadedModel:
    from pipeline.models.zoo import clip_models, torchvision_models

    if name in torchvision_models.names():
        return torchvision_models.load(name, weights=choice)
    if name in clip_models.names():
        return clip_models.load(name, weights=choice, window=window)
    refusal = torchvision_models.refusal(name)
    if refusal is not None:
        advice = "give a model of pictures, such as resnet18, or your own as module:factory"
        raise UsageError(f"--model {name}: {refusal}; {advice}")
    raise _unknown(name, known=[*OWN_NAMES, *torchvision_models.names(), *clip_models.names()])


def list_models() -> Iterator[ModelEntry]:
    """Every name that ``load_model`` takes, in seconds: networks are built without their numbers."""
    from pipeline.models.zoo import clip_models, torchvision_models

    yield ModelEntry(
        name="efficientnet_lite0", dim=1280, weights="ImageNet, installed with vidlake", needs_download=False
    )
    yield ModelEntry(name="video_cnn", dim=512, weights="none: random:SEED or a file", needs_download=False)
    for name in torchvision_models.names():
        dim, has_weights = torchvision_models.outline(name)
        meaning = "ImageNet, downloaded by torchvision" if has_weights else "none: random:SEED or a file"
        yield ModelEntry(name=name, dim=dim, weights=meaning, needs_download=has_weights)
    for name in clip_models.names():
        dim, has_weights = clip_models.outline(name)
        window = clip_models.lengths(name).usual
        meaning = f"Kinetics, downloaded by torchvision; clips of {window} samples"
        yield ModelEntry(name=name, dim=dim, weights=meaning, needs_download=has_weights, window=window)
    yield ModelEntry(name="timm/NAME", dim=None, weights="downloaded by timm", needs_download=True)
    yield ModelEntry(name="module:factory", dim=None, weights="as the factory returns it", needs_download=False)


def _unknown(name: str, *, known: list[str]) -> UsageError:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    meant = f"did you mean {', '.join(close)}?" if close else "`vidlake models` lists the names"
    return UsageError(f"--model {name}: there is no such model; {meant}")
