"""A network as the pipeline uses it, and how one comes apart into a backbone and its classification layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pipeline.errors import UsageError
from pipeline.models.weights import WeightsFile, fill, read_state_dict, without_prefix
from pipeline.models.weights_notes import WeightsNotes
from pipeline.records.model_info import ModelInfo

NUM_CLASSES = 1000
"""What ``random:SEED`` constructs, and what the libraries' weights mostly have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A network filled with its numbers and taken apart, on the CPU, in evaluation mode, ``float32``."""

    info: ModelInfo
    backbone: nn.Module
    """Normalised ``float[B, 3, H, W]`` to ``float[B, D]``, the exact input of the classification layer.

    Of clips ``float[B, 3, N, H, W]``.
    """
    head: nn.Module | None
    """``float[B, D]`` to ``float[B, classes]`` before softmax; ``None`` where no such layer exists."""
    classes: tuple[str, ...]
    """What the head's outputs mean, in their order; empty where the weights do not say."""
    rows_per_input: int = 1
    """How many features one input gives: ``D`` is their length together."""
    takes_pixels: bool = False
    """Whether the backbone takes ``uint8[B, N, H, W, 3]`` and normalises by itself."""
    text_tower: Callable[[Sequence[str]], Tensor] | None = None
    """Texts to ``float[N, D]`` in the space of the features, where the network was trained on both."""
    head_name: str | None = None
    """What the head's tensors are called in a weights file; ``None``: no file can hold another head."""


def classification_layer(network: nn.Module, *, num_classes: int | None = None) -> str | None:
    """Name the last linear layer, with ``num_classes`` outputs where given; auxiliary heads come before it."""
    last: str | None = None
    for name, part in network.named_modules():
        if isinstance(part, nn.Linear) and num_classes in (None, part.out_features):
            last = name
    return last


def cut_off(network: nn.Module, *, name: str) -> nn.Linear:
    """Take the linear layer ``name`` out of the network, which from then on yields that layer's input."""
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{name} is a {type(layer).__name__}, not a linear layer")
    network.set_submodule(name, nn.Identity())
    return layer


def feature_dim(backbone: nn.Module, *, crop_px: tuple[int, int]) -> int | None:
    """Length of the feature vectors, by running the network; ``None`` where it does not yield one a picture."""
    with torch.inference_mode():
        features = backbone(torch.zeros(2, 3, *crop_px))
    if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[0] != 2:
        return None
    return features.shape[1]


def seeded(construct: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """``torch.manual_seed(seed)``, then the constructor; the caller's own random numbers go on undisturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return construct()


def filled(
    weights: WeightsFile,
    *,
    construct: Callable[[int, Mapping[str, Tensor]], nn.Module],
    head_of: Callable[[nn.Module], str | None],
) -> nn.Module:
    """Construct a network with as many classes as a weights file has, and fill it.

    Args:
        weights: the file.
        construct: from a number of classes and the file's tensors to the network, its numbers arbitrary.
        head_of: the name of a network's classification layer; that layer's length in the file is the number of classes.

    Raises:
        UsageError: the file cannot be read or holds another network's weights.
    """
    state = read_state_dict(weights.location)
    with parameters_on_meta():
        outline = construct(NUM_CLASSES, {})
    state = without_prefix(state, names=set(outline.state_dict()))
    last = state.get(f"{head_of(outline)}.weight")
    network = construct(NUM_CLASSES if last is None or last.ndim == 0 else last.shape[0], state)
    fill(network, state=state, source=f"--weights {weights.location}")
    return network


def noted(model: LoadedModel, notes: WeightsNotes, *, source: str) -> LoadedModel:
    """The model with the labels and the preprocessing that its weights file says.

    Raises:
        UsageError: the file has another number of labels than of outputs, or other pictures than the network takes.
    """
    if not isinstance(model.head, nn.Linear) or model.head.out_features != len(notes.labels):
        num_outputs = model.head.out_features if isinstance(model.head, nn.Linear) else 0
        raise UsageError(f"{source}: has {len(notes.labels)} labels for {num_outputs} outputs: it is damaged")
    if notes.preprocessing != model.info.preprocessing:
        crop_px = notes.preprocessing.crop_px
        try:
            dim = feature_dim(model.backbone, crop_px=crop_px)
        except (RuntimeError, AssertionError):  # torch's own, and what timm and torchvision say of another size
            dim = None
        if dim != model.info.dim:
            raise UsageError(f"{source}: its pictures of {crop_px} pixels are not what {model.info.name} takes")
    return replace(model, info=replace(model.info, preprocessing=notes.preprocessing), classes=notes.labels)


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Construct networks for their outline alone: no memory, no time spent on random numbers.

    Only parameters go to torch's meta device; ``torch.device("meta")`` would send along the arithmetic with which
    RegNet computes its widths, and fail.
    """

    def to_meta(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        return None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]  # its result replaces the parameter
    try:
        yield
    finally:
        hook.remove()
