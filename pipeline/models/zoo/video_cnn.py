"""``video_cnn``: a small network for short training runs and tests."""

from itertools import pairwise

from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.network import LoadedModel, classification_layer, cut_off, filled, seeded
from pipeline.models.weights import DefaultWeights, RandomWeights, Weights, WeightsFile, weights_digest
from pipeline.records.model_info import ModelInfo, Preprocessing

NAME = "video_cnn"

PREPROCESSING = Preprocessing(resize_px=128, crop_px=(128, 128), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class VideoCNN(nn.Module):
    """Four convolutions and a hidden layer, for pictures of 128 x 128."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        widths = [3, 64, 64, 128, 128]
        stages: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            stages += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.convolutions = nn.Sequential(*stages)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(128 * 8 * 8, 512), nn.ReLU())
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, 3, 128, 128]`` to ``float[B, num_classes]``; the last layer's input is ``float[B, 512]``."""
        classes: Tensor = self.classifier(self.hidden(self.convolutions(x)))
        return classes


def load(*, weights: Weights) -> LoadedModel:
    """``VideoCNN``; its numbers come from a training run's file.

    Raises:
        UsageError: default weights, which it has none of, or a weights file that does not fit.
    """
    match weights:
        case DefaultWeights():
            raise UsageError(f"--model {NAME}: there are no weights for it; give --weights random:SEED or a file")
        case RandomWeights(seed=seed):
            network = seeded(VideoCNN, seed=seed)
        case WeightsFile():
            network = filled(
                weights, construct=lambda num_classes, _: VideoCNN(num_classes), head_of=classification_layer
            )
    digest = weights_digest(network)
    head = cut_off(network.eval(), name="classifier")
    info = ModelInfo(name=NAME, dim=head.in_features, weights_digest=digest, preprocessing=PREPROCESSING)
    return LoadedModel(info=info, backbone=network, head=head, classes=(), head_name="classifier")
