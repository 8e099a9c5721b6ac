"""Torchvision's detectors: boxes in shares of the picture, batches, weights of all kinds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import UsageError
from pipeline.models.weights import RandomWeights, WeightsFile
from pipeline.models.zoo import detectors
from pipeline.models.zoo.detectors import Pixels, TorchvisionDetector
from pipeline.models.zoo.torchvision_models import constructed

SMALL = "ssdlite320_mobilenet_v3_large"


def pictures(*sizes: tuple[int, int]) -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


@pytest.fixture(scope="module")
def untrained() -> TorchvisionDetector:
    return TorchvisionDetector(SMALL, weights=RandomWeights(seed=0), device="cpu", least_confidence=0.0)


@pytest.mark.slow
def test_pictures_of_several_sizes_give_what_each_alone_gives(untrained: TorchvisionDetector) -> None:
    shown = pictures((90, 160), (240, 120))

    together = untrained.detect(shown)
    alone = [untrained.detect([picture])[0] for picture in shown]

    assert all(together)
    for found, single in zip(together, alone, strict=True):
        assert [each.label for each in found] == [each.label for each in single]
        assert [each.confidence for each in found] == pytest.approx([each.confidence for each in single], abs=1e-5)


def test_boxes_are_shares_of_the_picture(untrained: TorchvisionDetector) -> None:
    (found,) = untrained.detect(pictures((120, 360)))

    assert found
    for each in found:
        assert 0 <= each.box.left < each.box.left + each.box.width <= 1 + 1e-6
        assert 0 <= each.box.top < each.box.top + each.box.height <= 1 + 1e-6
        assert each.label is not None
        assert each.label.islower() or not each.label.isalpha()
    assert [each.confidence for each in found] == sorted((each.confidence or 0 for each in found), reverse=True)


def test_what_is_not_sure_enough_is_not_told() -> None:
    detector = TorchvisionDetector(SMALL, weights=RandomWeights(seed=0), device="cpu", least_confidence=1.0)

    assert detector.detect(pictures((90, 160))) == [[]]
    assert detector.detect([]) == []


@pytest.mark.slow
def test_the_same_seed_is_the_same_detector(untrained: TorchvisionDetector) -> None:
    again = TorchvisionDetector(SMALL, weights=RandomWeights(seed=0), device="cpu", least_confidence=0.0)

    assert again.detect(pictures((90, 160))) == untrained.detect(pictures((90, 160)))


@pytest.mark.slow
def test_a_file_with_classes_of_its_own_names_them_by_number(tmp_path: Path) -> None:
    network = constructed(SMALL, weights_backbone=None, num_classes=4)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    weights = WeightsFile(location=str(tmp_path / "mine.pt"))

    detector = TorchvisionDetector(SMALL, weights=weights, device="cpu", least_confidence=0.0)

    (found,) = detector.detect(pictures((90, 160)))
    assert {each.label for each in found} <= {"1", "2", "3"}


@pytest.mark.slow
def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pt")

    with pytest.raises(UsageError, match="--detect-weights"):
        TorchvisionDetector(SMALL, weights=WeightsFile(location=str(tmp_path / "other.pt")), device="cpu")


def test_an_unknown_detector_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match=SMALL):
        TorchvisionDetector("resnet18", weights=RandomWeights(seed=0))


@pytest.mark.parametrize("name", detectors.names())
@pytest.mark.quick_one_in(5)
def test_every_detector_of_torchvision_says_how_many_classes_it_has(name: str) -> None:
    with torch.device("meta"):
        state = constructed(name, weights_backbone=None, num_classes=7).state_dict()

    assert detectors._num_classes_of(name, state) == 7
