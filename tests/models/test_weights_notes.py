"""A weights file may say its labels and its preprocessing; what it says is data, checked before it is used."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import UsageError
from pipeline.models.registry import has_default_weights, load_model
from pipeline.models.weights_notes import KEY, WeightsNotes, read_notes
from pipeline.models.zoo.video_cnn import PREPROCESSING, VideoCNN
from pipeline.records.model_info import Preprocessing

NOTES = WeightsNotes(model="video_cnn", labels=("empty", "person"), preprocessing=PREPROCESSING)


def weights(path: Path, metadata: dict[str, str] | None, *, num_classes: int = 2) -> str:
    torch.manual_seed(0)
    save_file(VideoCNN(num_classes).state_dict(), path, metadata=metadata)
    return str(path)


def noted(**changes: Any) -> dict[str, str]:
    """The metadata of a file, with some of it otherwise."""
    return {KEY: json.dumps({**json.loads(NOTES.to_header()[KEY]), **changes})}


def test_labels_and_preprocessing_are_those_of_the_file(tmp_path: Path) -> None:
    own = Preprocessing(resize_px=(128, 128), crop_px=(128, 128), mean=(0.1, 0.2, 0.3))
    location = weights(tmp_path / "a.safetensors", noted(preprocessing=own.to_json()))
    model = load_model("video_cnn", weights=location)
    assert model.classes == ("empty", "person")
    assert model.info.preprocessing == own


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["none", "another program's"])
def test_file_that_says_nothing_is_loaded_as_ever(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    model = load_model("video_cnn", weights=weights(tmp_path / "a.safetensors", metadata))
    assert model.classes == ()
    assert model.info.preprocessing == PREPROCESSING


def test_labels_of_a_factorys_network_come_with_a_layer_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noted_factory.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = {"vidlake_head.weight": torch.eye(2, 3), "vidlake_head.bias": torch.zeros(2)}
    save_file(
        layer,
        tmp_path / "a.safetensors",
        metadata=noted(preprocessing=Preprocessing(resize_px=256, crop_px=(224, 224)).to_json()),
    )
    model = load_model("noted_factory:make", weights=str(tmp_path / "a.safetensors"))
    assert model.classes == ("empty", "person")
    assert model.head is not None
    assert model.head(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        pytest.param({KEY: "{"}, "damaged", id="no JSON"),
        pytest.param({KEY: "[" * 100_000}, "damaged", id="too deep"),
        pytest.param({KEY: json.dumps("x" * 5_000_000)}, "more than", id="too long"),
        pytest.param({KEY: "{}"}, "damaged", id="nothing in it"),
        pytest.param(noted(code="import os"), "further keys", id="a further key"),
        pytest.param(noted(labels=["one"]), "1 labels for 2 outputs", id="too few labels"),
        pytest.param(noted(labels=["one", "one"]), "each once", id="a label twice"),
        pytest.param(noted(labels=[]), "each once", id="no label"),
        pytest.param(noted(labels=["a", "b" * 2000]), "1000 characters", id="a long label"),
        pytest.param(noted(labels="ab"), "labels is", id="labels that are no list"),
        pytest.param(noted(preprocessing={}), "damaged", id="no preprocessing"),
        pytest.param(
            noted(preprocessing={"resize_px": 10**9, "crop_px": [128, 128]}), "resized to at most", id="a huge resize"
        ),
        pytest.param(
            noted(preprocessing={"resize_px": 128, "crop_px": [10**6, 10**6]}), "model input", id="a huge crop"
        ),
        pytest.param(
            noted(preprocessing={"resize_px": 128, "crop_px": [128, 128], "mean": [float("nan"), 0, 0]}),
            "finite",
            id="a mean that is none",
        ),
        pytest.param(
            noted(preprocessing={"resize_px": 64, "crop_px": [64, 64]}), "not what video_cnn takes", id="other pictures"
        ),
    ],
)
@pytest.mark.quick_one_in(4)
def test_file_that_says_what_cannot_be_is_a_usage_error_in_one_line(
    metadata: dict[str, str], says: str, tmp_path: Path
) -> None:
    location = weights(tmp_path / "a.safetensors", metadata)
    with pytest.raises(UsageError, match=says) as caught:
        load_model("video_cnn", weights=location)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_notes_of_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for data in (b"", b"\x10", (1 << 40).to_bytes(8, "little"), (100).to_bytes(8, "little") + b"{"):
        path.write_bytes(data)
        with pytest.raises(UsageError):
            read_notes(str(path))


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("video_cnn", False),
        ("efficientnet_lite0", True),
        ("resnet18", True),
        ("timm/resnet10t", True),
        ("timm/botnet50ts_256", False),
        ("no_such_model", True),
    ],
)
def test_models_without_weights_of_their_own_are_known(name: str, has: bool) -> None:
    assert has_default_weights(name) is has
