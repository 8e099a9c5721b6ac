"""Torchvision's detectors: pictures in, boxes with labels out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.compiler_on_demand import compiler_on_demand
from pipeline.models.network import seeded
from pipeline.models.weights import (
    DefaultWeights,
    RandomWeights,
    Weights,
    WeightsFile,
    fill,
    read_state_dict,
    without_prefix,
)
from pipeline.models.zoo.torchvision_models import constructed, default_weights, downloaded
from pipeline.records.geometry import Box, Detection

with compiler_on_demand():
    import torchvision

Pixels = NDArray[np.uint8]

LEAST_CONFIDENCE = 0.5
"""Detectors give a hundred boxes a picture, most of them of nothing."""

_NUM_CLASSES = 91
"""Of COCO, with one for nothing: what torchvision's detectors tell apart."""


def names() -> list[str]:
    """The detectors that there are, sorted."""
    listed: list[str] = torchvision.models.list_models(module=torchvision.models.detection)
    return sorted(listed)


class TorchvisionDetector:
    """One network, ready to look at pictures of any sizes together. Not for use by several threads at once."""

    def __init__(
        self,
        name: str,
        *,
        weights: Weights,
        device: str | None = None,
        least_confidence: float = LEAST_CONFIDENCE,
    ) -> None:
        """Construct and fill it.

        Args:
            name: one of ``names``.
            weights: where its numbers are from.
            device: where it computes; a GPU if there is one.
            least_confidence: of objects that are told of.

        Raises:
            UsageError: there is no such detector, or the weights file is not of it.
            WeightsError: the library's weights could not be downloaded.
        """
        if name not in names():
            raise UsageError(f"--detect {name}: torchvision has no such detector; it has {', '.join(names())}")
        network = _filled(name, weights)
        default = default_weights(name)
        self._labels: Sequence[str] = default.meta["categories"] if default is not None else ()
        self._num_classes = _num_classes_of(name, network.state_dict())
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network = network.eval().to(self._device)
        self._least_confidence = least_confidence

    @torch.inference_mode()
    def detect(self, pictures: Sequence[Pixels]) -> list[list[Detection]]:
        """The objects in each picture, the surest first.

        Args:
            pictures: RGB, upright, ``uint8[H, W, 3]`` each.
        """
        tensors = [torch.from_numpy(np.ascontiguousarray(picture)).to(self._device) for picture in pictures]
        answers = self._network([each.permute(2, 0, 1).float().div(255) for each in tensors]) if tensors else []
        return [self._objects(answer, picture) for answer, picture in zip(answers, pictures, strict=True)]

    def _objects(self, answer: Mapping[str, Tensor], picture: Pixels) -> list[Detection]:
        height, width = picture.shape[:2]
        edges = answer["boxes"].cpu().numpy() / np.array([width, height, width, height])
        found = zip(edges.clip(0, 1).tolist(), answer["labels"].tolist(), answer["scores"].tolist(), strict=True)
        return [
            Detection(
                box=Box(left=left, top=top, width=right - left, height=bottom - top),
                label=self._label(label),
                confidence=confidence,
            )
            for (left, top, right, bottom), label, confidence in found
            if confidence >= self._least_confidence and right > left and bottom > top
        ]

    def _label(self, number: int) -> str:
        """What a class is called: by its number, where the network was trained on classes of its own."""
        has_names = len(self._labels) == self._num_classes
        return self._labels[number] if has_names else str(number)


def _filled(name: str, weights: Weights) -> nn.Module:
    match weights:
        case DefaultWeights():
            return downloaded(name, default=default_weights(name))
        case RandomWeights(seed=seed):
            return seeded(partial(_constructed, name), seed=seed)
        case WeightsFile(location=location):
            state = read_state_dict(location)
            outline = _outline(name)
            state = without_prefix(state, names=set(outline.state_dict()))
            network = _constructed(name, num_classes=_num_classes_of(name, state))
            fill(network, state=state, source=f"--detect-weights {location}")
            return network


def _constructed(name: str, **arguments: Any) -> nn.Module:
    """Without the backbone's own weights, which torchvision would download by itself."""
    return constructed(name, weights_backbone=None, **arguments)


def _outline(name: str, **arguments: Any) -> nn.Module:
    """The network without its numbers: no memory, no time."""
    with torch.device("meta"):  # buffers too: SSD asks its backbone for its shapes while it is constructed
        return _constructed(name, **arguments)


def _num_classes_of(name: str, state: Mapping[str, Tensor]) -> int:
    """How many classes a network of this name tells apart, by the length of a layer that grows with them."""
    few, many = (_outline(name, num_classes=number).state_dict() for number in (2, _NUM_CLASSES))
    for key, tensor in many.items():
        length, shortest = tensor.shape[:1], few[key].shape[:1]
        if length != shortest and key in state:
            per_class = (int(length[0]) - int(shortest[0])) / (_NUM_CLASSES - 2)
            length_here = int(state[key].shape[0])
            return max(2, round(2 + (length_here - int(shortest[0])) / per_class))
    return _NUM_CLASSES
