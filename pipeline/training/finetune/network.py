"""The network at work in training: prepared pictures to a score for each label; and back to a weights file."""

from collections.abc import Iterator, Mapping

import torch
from safetensors.torch import save
from torch import Tensor, nn
from typing_extensions import override

from pipeline.models.embedder import PicturesToFeatures
from pipeline.models.network import LoadedModel
from pipeline.models.weights_notes import WeightsNotes
from pipeline.training.finetune.request import Trained

_FEATURES = "features.backbone."


class PicturesToScores(nn.Module):
    """``uint8[B, H, W, 3]`` to ``float32[B, labels]`` before softmax; the last layer is new."""

    def __init__(self, model: LoadedModel, *, num_labels: int, trained: Trained, seed: int) -> None:
        super().__init__()
        _as_a_file_loads_it(model.backbone)
        self.features = PicturesToFeatures(model.backbone, preprocessing=model.info.preprocessing, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(model.info.dim, num_labels)
        self._trains_all = trained == "all"
        self.features.requires_grad_(self._trains_all)

    @override
    def train(self, mode: bool = True) -> "PicturesToScores":
        """As of any module; frozen layers stay in evaluation mode, for batch normalisation learns without gradients."""
        super().train(mode)
        self.features.train(mode and self._trains_all)
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``uint8[B, H, W, 3]`` to ``float32[B, labels]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains_all):
            features = self.features(pictures)
        scores: Tensor = self.head(features)
        return scores

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Those that learn, by their names."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)


def weights_file(state: dict[str, Tensor], notes: WeightsNotes, *, head_name: str, temperature: float | None) -> bytes:
    """The file of a trained network, as ``--weights`` takes it.

    Args:
        state: of ``PicturesToScores``.
        notes: what the file says of itself.
        head_name: of ``LoadedModel``.
        temperature: what the scores are divided by, so that their softmax is what it says; part of the last layer.
    """
    numbers = {name.removeprefix(_FEATURES): value for name, value in state.items() if name.startswith(_FEATURES)}
    for part in ("weight", "bias"):
        numbers[f"{head_name}.{part}"] = state[f"head.{part}"] / (temperature or 1.0)
    return save(separate(numbers), metadata=notes.to_header())


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on the CPU, no two of them in the same memory: a file knows no tied weights."""
    found: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, value in tensors.items():
        own = value.detach().cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        found[name] = own.clone() if storage in storages else own
        storages.add(storage)
    return found


def _as_a_file_loads_it(backbone: nn.Module) -> None:
    """GoogLeNet and Inception, loaded from a file, rescale their input and have no auxiliary heads: so they train."""
    if getattr(backbone, "aux_logits", False):
        backbone.aux_logits = False  # type: ignore[assignment]
        for name in ("aux1", "aux2", "AuxLogits"):
            if hasattr(backbone, name):
                setattr(backbone, name, None)
    if hasattr(backbone, "transform_input"):
        backbone.transform_input = True  # type: ignore[assignment]
