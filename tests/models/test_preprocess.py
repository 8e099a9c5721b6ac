"""``prepare`` is the weights' own transform: torchvision's on uint8 tensors value for value, and close to Pillow's."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from pipeline.models.preprocess import prepare
from pipeline.records.crops import MAX_RESIZED_PX, resized_size
from pipeline.records.model_info import Interpolation, Preprocessing

SIZES = [
    pytest.param(720, 1280, id="landscape-16:9-narrowed"),
    pytest.param(1280, 720, id="portrait-9:16-narrowed"),
    pytest.param(480, 640, id="landscape-4:3"),
    pytest.param(601, 337, id="odd-portrait"),
    pytest.param(90, 160, id="upscaled"),
    pytest.param(256, 300, id="shorter-side-fits-already"),
    pytest.param(224, 224, id="the-crop-itself"),
    pytest.param(1, 1, id="one-pixel"),
    pytest.param(17, 1, id="one-column"),
    pytest.param(2, 5000, id="strip"),
]

TRANSFORMS = [
    pytest.param(Preprocessing(resize_px=256, crop_px=(224, 224), interpolation="bicubic"), id="efficientnet_lite0"),
    pytest.param(Preprocessing(resize_px=256, crop_px=(224, 224)), id="resnet18"),
    pytest.param(Preprocessing(resize_px=128, crop_px=(128, 128)), id="video_cnn"),
    pytest.param(Preprocessing(resize_px=(240, 224), crop_px=(224, 192), interpolation="bicubic"), id="squash"),
    pytest.param(Preprocessing(resize_px=100, crop_px=(145, 124)), id="crop-larger-than-picture"),
    pytest.param(Preprocessing(resize_px=256, crop_px=(224, 224), interpolation="nearest"), id="nearest"),
]


@pytest.mark.parametrize("preprocessing", TRANSFORMS)
@pytest.mark.parametrize(("height_px", "width_px"), SIZES)
@pytest.mark.quick_one_in(4)
def test_equals_torchvision_on_uint8_bit_for_bit(height_px: int, width_px: int, preprocessing: Preprocessing) -> None:
    for picture in (noise(height_px, width_px), scene(height_px, width_px)):
        prepared = prepare(picture, preprocessing=preprocessing)
        np.testing.assert_array_equal(prepared, torchvision_reference(picture, preprocessing))
        assert prepared.flags.c_contiguous
        assert prepared.shape == (*preprocessing.crop_px, 3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height_px", "width_px"), [(720, 1280), (641, 479), (90, 160)])
def test_is_within_two_steps_of_pillow_everywhere_and_a_tenth_on_average(
    height_px: int, width_px: int, interpolation: Interpolation
) -> None:
    """Pillow's weights have 22 bits and torch's 15, so single values may differ by a step or two."""
    picture = scene(height_px, width_px)
    preprocessing = Preprocessing(resize_px=256, crop_px=(224, 224), interpolation=interpolation)
    resize = v2.Resize(256, interpolation=v2.InterpolationMode(interpolation))
    reference = np.asarray(v2.CenterCrop(224)(resize(Image.fromarray(picture))), np.float64)
    prepared = prepare(picture, preprocessing=preprocessing).astype(np.float64)
    assert np.abs(prepared - reference).max() <= 2
    assert np.abs(prepared - reference).mean() < 0.1
    cosine = (prepared * reference).sum() / (np.linalg.norm(prepared) * np.linalg.norm(reference))
    assert cosine > 0.99999


@pytest.mark.parametrize(("height_px", "width_px"), [(3, 60000), (60001, 7), (1, 8_000_000)])
def test_extreme_strip_is_prepared_in_bounded_memory(height_px: int, width_px: int) -> None:
    """Resized whole, these would take gigabytes before their middle is cut out."""
    resized = resized_size(height_px, width_px, resize_px=256)
    assert resized[0] * resized[1] > MAX_RESIZED_PX
    ramp = np.linspace(0, 255, max(height_px, width_px)).astype(np.uint8)
    along_columns = np.broadcast_to(ramp[None, :, None], (min(height_px, width_px), len(ramp), 3))
    picture = np.ascontiguousarray(along_columns if width_px > height_px else along_columns.transpose(1, 0, 2))
    prepared = prepare(picture, preprocessing=Preprocessing(resize_px=256, crop_px=(224, 224), interpolation="bicubic"))
    assert prepared.shape == (224, 224, 3)
    assert np.abs(prepared.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("antialias", [True, False])
def test_pixels_do_not_depend_on_the_number_of_threads(antialias: bool) -> None:
    """Workers decode with one thread; a caller of ours may have more."""
    picture = np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    preprocessing = Preprocessing(resize_px=(128, 171), crop_px=(112, 112), antialias=antialias)
    before = torch.get_num_threads()
    prepared = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            prepared.append(prepare(picture, preprocessing=preprocessing))
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(each, prepared[0]) for each in prepared)


def test_read_only_and_strided_pictures_are_taken_too() -> None:
    picture = noise(300, 400)
    preprocessing = Preprocessing(resize_px=128, crop_px=(128, 128))
    expected = prepare(picture, preprocessing=preprocessing)
    mirrored_twice = picture[:, ::-1].copy()[:, ::-1]
    picture.flags.writeable = False
    np.testing.assert_array_equal(prepare(picture, preprocessing=preprocessing), expected)
    np.testing.assert_array_equal(prepare(mirrored_twice, preprocessing=preprocessing), expected)


def test_result_does_not_share_memory_with_the_picture() -> None:
    picture = noise(224, 224)
    prepared = prepare(picture, preprocessing=Preprocessing(resize_px=224, crop_px=(224, 224)))
    assert not np.shares_memory(prepared, picture)


def test_decode_workers_do_not_load_torchvision_or_timm() -> None:
    program = "import sys, pipeline.models.preprocess; print({'torchvision', 'timm'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def torchvision_reference(picture: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    size = preprocessing.resize_px if isinstance(preprocessing.resize_px, tuple) else (preprocessing.resize_px,)
    mode = v2.InterpolationMode(preprocessing.interpolation)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)
    resized = functional.resize(pixels, list(size), interpolation=mode, antialias=True)
    cropped = functional.center_crop(resized, list(preprocessing.crop_px))
    reference: NDArray[np.uint8] = cropped.permute(1, 2, 0).numpy()
    return reference


def noise(height_px: int, width_px: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def scene(height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Gradients with a bright disc."""
    y, x = np.mgrid[0:height_px, 0:width_px] / max(height_px, width_px)
    disc = (np.hypot(x - 0.5, y - 0.3) < 0.2) * 120
    return np.stack([200 * x, 200 * y, 100 + disc], axis=-1).astype(np.uint8)
