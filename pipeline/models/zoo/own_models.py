"""Networks of the user's own: ``module:factory``."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.network import LoadedModel, feature_dim, seeded
from pipeline.models.weights import (
    RandomWeights,
    Weights,
    WeightsFile,
    fill,
    read_state_dict,
    weights_digest,
    without_prefix,
)
from pipeline.records.model_info import ModelInfo, Preprocessing

ADDED_HEAD = "vidlake_head"
"""What the classification layer is called that a factory's network has from fine-tuning; its own ends at features."""

IMAGENET = Preprocessing(resize_px=256, crop_px=(224, 224))
"""For a factory's network that does not say how its pictures are prepared."""


def load_from_factory(name: str, *, weights: Weights) -> LoadedModel:
    """Import the user's ``module:factory``, also from the current folder, and call it.

    The factory takes no arguments and returns a module from normalised ``float[B, 3, H, W]`` to ``float[B, D]``; its
    attribute ``preprocessing``, a ``Preprocessing`` or a dictionary of the same fields, says how the pictures are
    prepared (ImageNet's way without it); a method ``embed_text`` from a list of texts to ``float[N, D]`` is its text
    tower, by which words are searched for. It is called under a fixed seed, so that what the factory leaves random is
    the same in every worker.

    Raises:
        UsageError: no such factory, or what it returns is not such a module, or a weights file that does not fit.
    """
    factory = _factory(name)
    network = seeded(
        partial(_called, factory, name=name), seed=weights.seed if isinstance(weights, RandomWeights) else 0
    )
    head = None
    if isinstance(weights, WeightsFile):
        state = without_prefix(read_state_dict(weights.location), names=set(network.state_dict()))
        head = _head_put_on(state)
        fill(network, state=state, source=f"--weights {weights.location}")
    network.eval().float()
    preprocessing = _preprocessing(name, getattr(network, "preprocessing", IMAGENET))
    dim = feature_dim(network, crop_px=preprocessing.crop_px)
    if dim is None:
        raise UsageError(f"--model {name}: must map float[B, 3, H, W] to float[B, D], and returns another shape")
    if head is not None and head.in_features != dim:
        raise UsageError(f"--model {name}: has {dim} features, and its weights a layer for {head.in_features}")
    info = ModelInfo(name=name, dim=dim, weights_digest=weights_digest(network), preprocessing=preprocessing)
    text_tower = getattr(network, "embed_text", None)
    return LoadedModel(
        info=info,
        backbone=network,
        head=head,
        classes=(),
        text_tower=text_tower if callable(text_tower) else None,
        head_name=ADDED_HEAD,
    )


def _head_put_on(state: dict[str, Tensor]) -> nn.Linear | None:
    """Take out of a file's tensors the classification layer that fine-tuning has put on a factory's features."""
    weight, bias = (state.pop(f"{ADDED_HEAD}.{part}", None) for part in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        return None
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head.eval()


def _factory(name: str) -> Callable[[], object]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--model {name}: give both sides of the colon, as in my_package.my_module:make_model")
    if os.getcwd() not in sys.path:  # an installed command does not look there by itself
        sys.path.append(os.getcwd())
    try:
        factory: object = getattr(importlib.import_module(module_name), attribute, None)
    except (ImportError, SyntaxError) as error:
        raise UsageError(
            f"--model {name}: cannot import {module_name}: {error}; check the name and PYTHONPATH"
        ) from error
    if not callable(factory):
        raise UsageError(f"--model {name}: {module_name} has no function {attribute}")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise UsageError(f"--model {name}: must be callable without arguments ({error})") from error
    return factory


def _called(factory: Callable[[], object], *, name: str) -> nn.Module:
    network = factory()
    if not isinstance(network, nn.Module):
        raise UsageError(f"--model {name}: must return a torch.nn.Module, not a {type(network).__name__}")
    return network


def _preprocessing(name: str, given: Preprocessing | Mapping[str, Any]) -> Preprocessing:
    if isinstance(given, Preprocessing):
        return given
    try:
        return Preprocessing.from_json(dict(given))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"--model {name}: its preprocessing is wrong: {error}") from error
