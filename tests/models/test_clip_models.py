"""Models of clips: torchvision's video classifiers, what they see, and which windows they take."""

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models import video as torchvision_video

from pipeline.errors import UsageError
from pipeline.models.embedder import Embedder
from pipeline.models.preprocess import prepare
from pipeline.models.registry import load_model
from pipeline.models.zoo import clip_models
from pipeline.records.model_info import ModelInfo, Preprocessing, feature_fingerprint

NAMES = list_models(module=torchvision_video)
TRAINED_WITH = dict.fromkeys(NAMES, 16) | {name: 32 for name in NAMES if name.startswith("swin3d")} | {"s3d": 128}
A_MODEL_OF_EACH_FAMILY = {"r3d_18": 4, "s3d": 13, "mvit_v2_s": 16, "swin3d_t": 2}
"""With windows that cost little."""
TRANSFORMERS = {"mvit_v2_s", "swin3d_t"}
"""Which take seconds all the same."""


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        pytest.param(name, length, marks=[pytest.mark.slow] if name in TRANSFORMERS else [], id=f"{name}-{length}")
        for name, length in A_MODEL_OF_EACH_FAMILY.items()
    ],
)
@pytest.mark.quick_one_in(2)
def test_a_feature_is_the_input_of_the_classification_layer(name: str, length: int) -> None:
    model = load_model(name, weights="random:7", window=length)
    clips = noise(1, *model.info.preprocessing.input_shape)
    features = Embedder(model, batch_size=1).embed([clips])
    torch.manual_seed(7)
    whole = get_model(name, weights=None, num_classes=1000).eval()
    prepared = model.info.preprocessing
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (prepared.mean, prepared.std))
    assert model.head is not None
    with torch.inference_mode():
        expected, found = whole((pixels - mean) / std), model.head(torch.from_numpy(features))
    assert features.shape == (1, model.info.dim)
    assert torch.nn.functional.cosine_similarity(found, expected).item() > 0.99999
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_prepared_as_the_weights_own_transforms_do(name: str) -> None:
    transform = get_model_weights(name).DEFAULT.transforms()
    preprocessing = clip_models.preprocessing_of(name, window=None)
    assert preprocessing.window == TRAINED_WITH[name]
    for height_px, width_px in ((360, 640), (161, 97), (120, 1000)):
        picture = noise(height_px, width_px, 3, seed=height_px)
        pixels = torch.from_numpy(prepare(picture, preprocessing=preprocessing)).permute(2, 0, 1)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocessing.mean, preprocessing.std))
        expected = transform(torch.from_numpy(picture).permute(2, 0, 1)[None])[:, 0]
        levels = ((expected * std + mean) * 255 - pixels).abs()
        assert levels.max() < 1.01, f"{height_px} x {width_px}"  # a rounding of weights, where a part is resized
        assert (levels > 0.5).float().mean() < 0.001


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("r3d_18", 1, None), ("s3d", 13, None), ("mvit_v1_b", 15, 16), ("mvit_v2_s", 15, 16), ("swin3d_t", 1, None)],
)
def test_lengths_are_those_that_the_layers_fit(name: str, least: int, most: int | None) -> None:
    with torch.device("meta"):
        network = get_model(name, weights=None).eval()
    side_px = clip_models.preprocessing_of(name, window=None).crop_px[0]

    def fits(length: int) -> bool:
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, length, side_px, side_px, device="meta"))
        except RuntimeError:
            return False
        return True

    assert fits(least)
    assert least == 1 or not fits(least - 1)
    assert most is None or (fits(most) and not fits(most + 1))
    taken = clip_models.lengths(name)
    assert (taken.least, taken.most) == (least, most)


@pytest.mark.parametrize(
    ("name", "window", "message"),
    [
        pytest.param("mvit_v2_s", 8, "takes 15 to 16 samples", id="a-fixed-length"),
        pytest.param("s3d", 12, "takes at least 13 samples", id="too-short"),
        pytest.param("r3d_18", 100_000, "at most 1783 samples", id="more-than-memory"),
        pytest.param("resnet18", 8, "takes pictures", id="a-model-of-pictures"),
    ],
)
def test_a_window_that_the_model_cannot_take_is_refused_with_what_it_takes(
    name: str, window: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(name, weights="random:0", window=window)


def test_the_window_belongs_to_the_fingerprint_and_earlier_fingerprints_stay() -> None:
    picture = Preprocessing(resize_px=256, crop_px=(224, 224))
    assert set(picture.to_json()) == {"resize_px", "crop_px", "interpolation", "mean", "std"}
    still = ModelInfo(name="resnet18", dim=512, weights_digest="sha256:0", preprocessing=picture)
    assert feature_fingerprint(still, "fp32") == "c46b59792f6553f3"
    clips = [
        ModelInfo(name="r3d_18", dim=512, weights_digest="sha256:0", preprocessing=each)
        for each in (clip_models.preprocessing_of("r3d_18", window=length) for length in (8, 16))
    ]
    assert len({feature_fingerprint(each, "fp32") for each in clips}) == 2
    for each in clips:
        assert ModelInfo.from_json(json.loads(json.dumps(each.to_json()))) == each


@pytest.mark.slow
def test_a_clip_costs_its_place_in_the_batch() -> None:
    embedder = Embedder(load_model("r3d_18", weights="random:0", window=4), batch_size=8)
    clips = noise(5, 4, 112, 112, 3)
    assert embedder.batch_shapes[-1] == 2
    apart = np.concatenate([embedder.embed([clip[None]]) for clip in clips])
    together = embedder.embed([clips[:3], clips[3:]])
    assert np.abs(apart - together).max() <= 1e-5 * max(1.0, np.abs(apart).max())


@pytest.mark.slow
def test_reduced_precision_keeps_the_features_of_clips() -> None:
    model = load_model("r3d_18", weights="random:0", window=4)
    clips = noise(2, *model.info.preprocessing.input_shape)
    exact = Embedder(load_model("r3d_18", weights="random:0", window=4), batch_size=8).embed([clips])
    reduced = Embedder(model, precision="bf16", batch_size=8).embed([clips])
    cosines = (exact * reduced).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(reduced, axis=1)
    assert cosines.min() >= 0.98
