"""The Embedder: the same picture gives the same feature, whatever the batch, its neighbours and its host."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.embedder import Embedder, batch_lengths
from pipeline.models.network import LoadedModel
from pipeline.models.registry import load_model
from pipeline.records.model_info import ModelInfo, Precision, Preprocessing

Pictures = NDArray[np.uint8]
Features = NDArray[np.float32]


@pytest.fixture(scope="module")
def lite0() -> LoadedModel:
    """Real ImageNet weights."""
    return load_model("efficientnet_lite0", weights="default")


@pytest.fixture(scope="module")
def small() -> LoadedModel:
    return load_model("video_cnn", weights="random:0")


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return scenes(7, size_px=224)


@pytest.fixture(scope="module")
def reference(lite0: LoadedModel, pictures: Pictures) -> Features:
    """The backbone itself, picture by picture, in float32."""
    return straightforward(lite0, pictures)


def test_fp32_features_are_those_of_the_backbone_alone(
    lite0: LoadedModel, pictures: Pictures, reference: Features
) -> None:
    features = Embedder(lite0, batch_size=4, device="cpu").embed([pictures])
    assert features.dtype == np.float32
    assert features.shape == (7, lite0.info.dim)
    assert_same(features, reference)


@pytest.mark.parametrize(
    ("num_pictures", "shapes", "lengths"),
    [
        pytest.param(69, [1, 2, 4, 8, 16, 32], [32, 32, 4, 1], id="full-ones-first"),
        pytest.param(9, [1, 2, 4, 8, 16, 32], [8, 1], id="padding-nine-to-sixteen-would-cost-more"),
        pytest.param(15, [1, 2, 4, 8, 16, 32], [15], id="padded-where-nearly-full"),
        pytest.param(70, [32], [32, 32, 6], id="one-static-shape-is-padded"),
        pytest.param(0, [32], [], id="nothing"),
    ],
)
def test_batches_are_cut_where_padding_costs_least(num_pictures: int, shapes: list[int], lengths: list[int]) -> None:
    assert list(batch_lengths(num_pictures, shapes=shapes)) == lengths


@pytest.mark.parametrize(
    ("lengths", "batch_size"),
    [
        pytest.param([7], 8, id="padded-to-the-batch"),
        pytest.param([7], 7, id="exact"),
        pytest.param([1] * 7, 4, id="several-arrays-to-a-batch"),
        pytest.param([3, 0, 4], 2, id="a-batch-across-a-border-and-an-empty-segment"),
        pytest.param([6, 1], 1, id="one-by-one"),
    ],
)
def test_batch_neighbours_leave_a_feature_as_it_is(lengths: list[int], batch_size: int, small: LoadedModel) -> None:
    pictures = scenes(sum(lengths), size_px=128)
    segments = np.split(pictures, np.cumsum(lengths)[:-1])
    features = Embedder(small, batch_size=batch_size, device="cpu").embed(segments)
    assert_same(features, straightforward(small, pictures))


def test_padding_of_an_earlier_batch_does_not_come_back(small: LoadedModel) -> None:
    embedder = Embedder(small, batch_size=4, device="cpu")
    pictures = scenes(5, size_px=128)
    first = embedder.embed([pictures])
    assert_same(embedder.embed([pictures[:1]]), first[:1])
    assert_same(embedder.embed([pictures]), first)


def test_no_pictures_give_no_features(small: LoadedModel) -> None:
    embedder = Embedder(small, device="cpu")
    assert embedder.embed([]).shape == (0, 512)
    assert embedder.embed([np.zeros((0, 128, 128, 3), np.uint8)]).shape == (0, 512)


def test_read_only_pictures_are_taken(small: LoadedModel) -> None:
    pictures = scenes(2, size_px=128)
    pictures.flags.writeable = False
    assert Embedder(small, device="cpu").embed([pictures]).shape == (2, 512)


@pytest.mark.parametrize(
    ("num_pictures", "num_rows"), [(1, [1]), (2, [2]), (3, [4]), (5, [4, 1]), (7, [8]), (9, [12]), (12, [12])]
)
def test_on_the_cpu_batches_are_small_that_hold_few_pictures(num_pictures: int, num_rows: list[int]) -> None:
    counting = RowCounter()
    Embedder(as_model(counting), batch_size=12, device="cpu").embed([scenes(num_pictures, size_px=8)])
    assert counting.seen == num_rows


def test_a_warm_up_is_one_batch_of_the_smallest_shape() -> None:
    counting = RowCounter()
    Embedder(as_model(counting), batch_size=12, device="cpu").warm_up()
    assert counting.seen == [1]


@pytest.mark.slow
def test_compiled_features_equal_eager_ones_in_one_static_shape() -> None:
    model = as_model(RowCounter())
    compiled = Embedder(model, compile=True, batch_size=4, device="cpu")
    assert compiled.batch_shapes == (4,)
    compiled.warm_up()
    small_pictures = scenes(6, size_px=8)
    assert_same(compiled.embed([small_pictures]), Embedder(model, device="cpu").embed([small_pictures]))


@pytest.mark.slow
def test_compiled_real_weights_equal_eager_ones(lite0: LoadedModel, pictures: Pictures, reference: Features) -> None:
    compiled = Embedder(lite0, compile=True, batch_size=4, device="cpu")
    compiled.warm_up()
    assert_same(compiled.embed([pictures]), reference)


@pytest.mark.parametrize(("precision", "least_cosine"), [("fp32", 0.999999), ("fp16", 0.999), ("bf16", 0.98)])
def test_reduced_precision_keeps_the_direction_of_real_features(
    precision: Precision, least_cosine: float, lite0: LoadedModel, pictures: Pictures, reference: Features
) -> None:
    features = Embedder(lite0, precision=precision, batch_size=1, device="cpu").embed([pictures[:3]])
    assert features.dtype == np.float32
    reference = reference[:3]
    cosines = (features * reference).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(reference, axis=1)
    assert cosines.min() >= least_cosine


def test_the_loaded_model_stays_fp32_beside_a_reduced_embedder(lite0: LoadedModel) -> None:
    Embedder(lite0, precision="bf16", device="cpu")
    assert {parameter.dtype for parameter in lite0.backbone.parameters()} == {torch.float32}


def test_probabilities_are_the_softmax_of_the_models_own_head(
    lite0: LoadedModel, pictures: Pictures, reference: Features
) -> None:
    probabilities = Embedder(lite0, device="cpu").probabilities(reference)
    assert probabilities.shape == (len(pictures), len(lite0.classes)) == (7, 1000)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert lite0.head is not None
    with torch.inference_mode():
        expected = lite0.head(torch.from_numpy(reference)).argmax(1).numpy()
    np.testing.assert_array_equal(probabilities.argmax(1), expected)


def test_probabilities_without_a_head_are_a_usage_error() -> None:
    embedder = Embedder(as_model(RowCounter()), device="cpu")
    with pytest.raises(UsageError, match="has no classification layer"):
        embedder.probabilities(np.zeros((1, 3), np.float32))


def test_features_that_are_not_finite_stop_the_run() -> None:
    embedder = Embedder(as_model(Overflowing()), precision="fp16", device="cpu")
    with pytest.raises(UsageError, match="not finite numbers; use --precision bf16"):
        embedder.embed([scenes(1, size_px=8)])


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.zeros((1, 8, 9, 3), np.uint8), id="another-size"),
        pytest.param(np.zeros((8, 8, 3), np.uint8), id="a-single-picture"),
        pytest.param(np.zeros((1, 8, 8, 3), np.float32), id="floats"),
    ],
)
def test_arrays_that_are_no_model_inputs_are_refused(array: Pictures) -> None:
    with pytest.raises(ValueError, match="pictures must be uint8"):
        Embedder(as_model(RowCounter()), device="cpu").embed([array])


class RowCounter(nn.Module):
    """Averages each picture's colours, and notes how many pictures came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.seen.append(x.shape[0])
        return x.mean(dim=(2, 3))


class SeesSearch(nn.Module):
    """Tells whether cuDNN searches for kernels while it is called."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), 3), float(torch.backends.cudnn.benchmark))


def test_models_of_several_precisions_in_one_process_keep_fp32_exact() -> None:
    """The search is a setting of the whole process, and the kernels that it finds are not exact enough for fp32."""
    exact, reduced = (Embedder(as_model(SeesSearch()), precision=each, device="cpu") for each in ("fp32", "bf16"))
    pictures = np.zeros((1, 8, 8, 3), np.uint8)
    for _ in range(2):
        assert exact.embed([pictures]).max() == 0
        assert reduced.embed([pictures]).min() == 1


class Overflowing(nn.Module):
    """Goes past the largest number of fp16, which is 65504."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.abs().mean(dim=(2, 3)) + 1) * 60000 * 2


def as_model(backbone: nn.Module) -> LoadedModel:
    preprocessing = Preprocessing(resize_px=8, crop_px=(8, 8))
    info = ModelInfo(name="tiny", dim=3, weights_digest="sha256:0", preprocessing=preprocessing)
    return LoadedModel(info=info, backbone=backbone, head=None, classes=())


def straightforward(model: LoadedModel, pictures: Pictures) -> Features:
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in moments(model))
    rows = []
    with torch.inference_mode():
        for picture in pictures:
            scaled = torch.from_numpy(picture).permute(2, 0, 1) / 255
            rows.append(model.backbone(((scaled - mean) / std).unsqueeze(0))[0])
    features: Features = torch.stack(rows).numpy()
    return features


def moments(model: LoadedModel) -> Sequence[tuple[float, float, float]]:
    return model.info.preprocessing.mean, model.info.preprocessing.std


def assert_same(features: Features, reference: Features) -> None:
    """Promise 5 in fp32: within 1e-5 x max(1, max|f|)."""
    np.testing.assert_allclose(features, reference, rtol=0, atol=1e-5 * max(1.0, float(np.abs(reference).max())))


def scenes(count: int, *, size_px: int) -> Pictures:
    """Pictures of gradients, discs and stripes under some noise, each another."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    made = []
    for index in range(count):
        angle = rng.uniform(0, math.tau)
        slope = 0.5 + 0.4 * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5))
        disc = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8)) < rng.uniform(0.1, 0.3)
        stripes = np.sin(x * rng.uniform(10, 60)) > 0.6
        colours = rng.uniform(-0.4, 0.4, (2, 3))
        picture = slope[..., None] + disc[..., None] * colours[0] + (stripes & (index % 2 == 0))[..., None] * colours[1]
        picture += rng.normal(0, 0.02, picture.shape)
        made.append((picture.clip(0, 1) * 255).astype(np.uint8))
    return np.stack(made)
