"""Torchvision's video classifiers: a window of samples in, one feature out."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.compiler_on_demand import compiler_on_demand
from pipeline.models.network import (
    LoadedModel,
    classification_layer,
    cut_off,
    parameters_on_meta,
)
from pipeline.models.weights import Weights, weights_digest
from pipeline.models.zoo.torchvision_models import constructed, default_weights, with_numbers
from pipeline.records.model_info import MAX_SAMPLE_BYTES, ModelInfo, Preprocessing

with compiler_on_demand():
    import torchvision
    from torchvision.models.video import S3D

S3D_HEAD = "classifier.1"
"""S3D classifies by a convolution of one pixel and one sample, and averages its results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many samples a model takes at once: ``usual``, as its weights were trained, and what else its layers fit."""

    usual: int = 16
    least: int = 1
    most: int | None = None

    def __str__(self) -> str:
        return f"at least {self.least}" if self.most is None else f"{self.least} to {self.most}"


_LENGTHS = {
    "mvit_v1_b": Lengths(least=15, most=16),
    "mvit_v2_s": Lengths(least=15, most=16),
    "s3d": Lengths(usual=128, least=13),
    "swin3d_b": Lengths(usual=32),
    "swin3d_s": Lengths(usual=32),
    "swin3d_t": Lengths(usual=32),
}


class S3DFeatures(nn.Module):
    """What S3D's classifying convolution sees, averaged over the clip.

    A convolution of one pixel and an average may change places, so a linear layer maps these to the network's classes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features = network.get_submodule("features")
        self.avgpool = network.get_submodule("avgpool")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, 3, N, H, W]`` to ``float[B, 1024]``."""
        pooled: Tensor = self.avgpool(self.features(x))
        return pooled.mean(dim=(2, 3, 4))


def names() -> list[str]:
    """The video classifiers, sorted."""
    listed: list[str] = torchvision.models.list_models(module=torchvision.models.video)
    return listed


def load(name: str, *, weights: Weights, window: int | None) -> LoadedModel:
    """Construct the model, fill it and take it apart.

    Args:
        name: the model's.
        weights: where its numbers are from.
        window: how many samples it is to take at once; ``None``: as many as its weights were trained with.

    Raises:
        UsageError: a number of samples that it cannot take, or a weights file that does not fit.
        WeightsError: the library's weights could not be downloaded.
    """
    preprocessing = preprocessing_of(name, window=window)

    def in_file(num_classes: int, _state: Mapping[str, Tensor]) -> nn.Module:
        return constructed(name, num_classes=num_classes)

    network, classes = with_numbers(name, weights=weights, in_file=in_file, head_of=_head_of)
    digest = weights_digest(network)
    head_name = None if isinstance(network, S3D) else _head_of(network)
    backbone, head = _take_apart(network.eval())
    info = ModelInfo(name=name, dim=head.in_features, weights_digest=digest, preprocessing=preprocessing)
    return LoadedModel(info=info, backbone=backbone, head=head, classes=classes, head_name=head_name)


def outline(name: str) -> tuple[int, bool]:
    """Length of the model's feature vectors, and whether the library has weights for it; none are touched."""
    with parameters_on_meta():
        _, head = _take_apart(constructed(name))
    return head.in_features, default_weights(name) is not None


def preprocessing_of(name: str, *, window: int | None) -> Preprocessing:
    """How the model's clips are prepared, by its weights' own transforms. Raises as ``load`` of its ``window``."""
    default = default_weights(name)
    if default is None:
        raise UsageError(f"--model {name}: torchvision does not say how its clips are prepared")
    transform, taken = default.transforms(), lengths(name)
    window = taken.usual if window is None else window
    height_px, width_px = transform.crop_size
    most = MAX_SAMPLE_BYTES // (3 * height_px * width_px)
    if window > most:
        raise UsageError(f"--window {window}: {name} is given at most {most} samples at once")
    if window < taken.least or (taken.most is not None and window > taken.most):
        raise UsageError(f"--window {window}: {name} takes {taken} samples at once")
    sizes_px = tuple(transform.resize_size)
    return Preprocessing(
        resize_px=sizes_px[0] if len(sizes_px) == 1 else sizes_px,
        crop_px=(height_px, width_px),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        antialias=False,
        window=window,
    )


def lengths(name: str) -> Lengths:
    """How many samples the model takes at once."""
    return _LENGTHS.get(name, Lengths())


def _head_of(network: nn.Module) -> str | None:
    return S3D_HEAD if isinstance(network, S3D) else classification_layer(network)


def _take_apart(network: nn.Module) -> tuple[nn.Module, nn.Linear]:
    name = _head_of(network)
    if name is None:
        raise TypeError(f"{type(network).__name__} has no classification layer")
    if not isinstance(network, S3D):
        return network, cut_off(network, name=name)
    convolution = network.get_submodule(name)
    head = nn.Linear(convolution.in_channels, convolution.out_channels, device=convolution.weight.device)
    head.weight = nn.Parameter(convolution.weight.flatten(1), requires_grad=False)
    head.bias = nn.Parameter(convolution.bias, requires_grad=False)
    return S3DFeatures(network), head
