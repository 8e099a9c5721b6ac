"""Torchvision's classification models."""

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPException
from typing import Any

from torch import Tensor, nn

from pipeline.errors import UsageError, WeightsError
from pipeline.models.compiler_on_demand import compiler_on_demand
from pipeline.models.network import (
    NUM_CLASSES,
    LoadedModel,
    classification_layer,
    cut_off,
    filled,
    parameters_on_meta,
    seeded,
)
from pipeline.models.weights import DefaultWeights, RandomWeights, Weights, WeightsFile, weights_digest
from pipeline.records.model_info import ModelInfo, Preprocessing

with compiler_on_demand():
    import torchvision
    from torchvision.models import (
        SqueezeNet,
        WeightsEnum,
        get_model,
        get_model_builder,
        get_model_weights,
    )

SQUEEZENET_HEAD = "classifier.1"
"""SqueezeNet classifies by a convolution."""

AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}
"""Networks with heads used in training only, and how the names of those begin."""

OTHER_KINDS = {
    "detection": "finds objects and has no one feature vector a picture",
    "segmentation": "labels pixels and has no one feature vector a picture",
    "quantization": "is quantized",
    "optical_flow": "compares two pictures",
}
"""Why the models of torchvision's other modules are refused; those of clips have a room of their own."""


class SqueezeNetFeatures(nn.Module):
    """What SqueezeNet's classifying convolution sees, averaged over the picture.

    The network averages after that convolution and its ReLU, so no layer maps these features to its classes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features = network.get_submodule("features")
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, 3, H, W]`` to ``float[B, 512]``."""
        pooled: Tensor = self.pool(self.features(x))
        return pooled.flatten(1)


def names() -> list[str]:
    """The classification models, sorted."""
    listed: list[str] = torchvision.models.list_models(module=torchvision.models)
    return listed


def refusal(name: str) -> str | None:
    """Why a model that torchvision knows is none of ours; ``None`` where it knows none of this name."""
    if name not in torchvision.models.list_models():
        return None
    kind = get_model_builder(name).__module__.split(".")[2]
    return OTHER_KINDS.get(kind, f"is one of torchvision's {kind} models")


def load(name: str, *, weights: Weights) -> LoadedModel:
    """Construct the model, fill it and take it apart.

    Raises:
        UsageError: a weights file that does not fit.
        WeightsError: the library's weights could not be downloaded.
    """
    network, classes = with_numbers(name, weights=weights, in_file=partial(_as_downloaded, name), head_of=_head_of)
    digest = weights_digest(network)
    head_name = _head_of(network)
    backbone, head, dim = _take_apart(network.eval())
    info = ModelInfo(name=name, dim=dim, weights_digest=digest, preprocessing=_preprocessing(default_weights(name)))
    if head is None:
        return LoadedModel(info=info, backbone=backbone, head=None, classes=())
    return LoadedModel(info=info, backbone=backbone, head=head, classes=classes, head_name=head_name)


def with_numbers(
    name: str,
    *,
    weights: Weights,
    in_file: Callable[[int, Mapping[str, Tensor]], nn.Module],
    head_of: Callable[[nn.Module], str | None],
) -> tuple[nn.Module, tuple[str, ...]]:
    """A network of torchvision's with its numbers, and what its classes are called, where its weights say so.

    Args:
        name: of the network.
        weights: where the numbers are from.
        in_file: as ``filled`` takes ``construct``: what a weights file is of.
        head_of: as ``filled`` takes it.

    Raises:
        UsageError: a weights file that does not fit.
        WeightsError: the library's weights could not be downloaded.
    """
    match weights:
        case DefaultWeights():
            default = default_weights(name)
            network = downloaded(name, default=default)
            return network, tuple(default.meta["categories"]) if default else ()
        case RandomWeights(seed=seed):
            return seeded(lambda: constructed(name, num_classes=NUM_CLASSES), seed=seed), ()
        case WeightsFile():
            return filled(weights, construct=in_file, head_of=head_of), ()


def outline(name: str) -> tuple[int, bool]:
    """Length of the model's feature vectors, and whether the library has weights for it; none are touched."""
    with parameters_on_meta():
        _, _, dim = _take_apart(constructed(name))
    return dim, default_weights(name) is not None


def has_weights(name: str) -> bool:
    """Whether the library has weights for the model."""
    return default_weights(name) is not None


def default_weights(name: str) -> WeightsEnum | None:
    """What ``--weights default`` means; ``None``: the library has none."""
    return getattr(get_model_weights(name), "DEFAULT", None)


def _preprocessing(default: WeightsEnum | None) -> Preprocessing:
    if default is None:
        return Preprocessing(resize_px=256, crop_px=(224, 224))
    transform = default.transforms()
    (resize_px,), (crop_px,) = transform.resize_size, transform.crop_size
    return Preprocessing(
        resize_px=resize_px,
        crop_px=(crop_px, crop_px),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def constructed(name: str, **arguments: Any) -> nn.Module:
    """The network of this name, its numbers arbitrary."""
    with warnings.catch_warnings():
        # GoogLeNet and Inception announce another initialisation for a later release.
        warnings.filterwarnings("ignore", category=FutureWarning, module="torchvision")
        network: nn.Module = get_model(name, weights=None, **arguments)
    return network


def downloaded(name: str, *, default: WeightsEnum | None) -> nn.Module:
    """The network of this name with the library's own weights.

    Raises:
        UsageError: there are none.
        WeightsError: they could not be downloaded.
    """
    if default is None:
        raise UsageError(f"--model {name}: torchvision has no weights for it; give --weights random:SEED or a file")
    try:
        network: nn.Module = get_model(name, weights=default, progress=sys.stderr.isatty())
    except (OSError, HTTPException, EOFError, RuntimeError) as error:  # RuntimeError: the download's hash is wrong
        reason = " ".join(str(error).split())
        advice = f"fetch {default.url} elsewhere and give --weights FILE"
        raise WeightsError(f"the weights of {name} could not be downloaded ({reason}); {advice}") from error
    return network


def _as_downloaded(name: str, num_classes: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Like ``downloaded``, for a file: with GoogLeNet's and Inception's weights the network rescales its input."""
    if name not in AUXILIARY:
        return constructed(name, num_classes=num_classes)
    has_auxiliary = any(AUXILIARY[name] in key for key in state)
    options = {"transform_input": True, "aux_logits": has_auxiliary, "init_weights": False}
    return constructed(name, num_classes=num_classes, **options)


def _head_of(network: nn.Module) -> str | None:
    return SQUEEZENET_HEAD if isinstance(network, SqueezeNet) else classification_layer(network)


def _take_apart(network: nn.Module) -> tuple[nn.Module, nn.Module | None, int]:
    """Backbone, head and the length of a feature vector."""
    name = _head_of(network)
    if name is None:
        raise TypeError(f"{type(network).__name__} has no linear layer")
    if isinstance(network, SqueezeNet):
        return SqueezeNetFeatures(network), None, network.get_submodule(name).in_channels
    head = cut_off(network, name=name)
    return network, head, head.in_features
