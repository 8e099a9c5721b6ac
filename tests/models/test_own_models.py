"""A user's own network, named by its module and function."""

import re
import sys
from pathlib import Path

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.models.registry import load_model
from pipeline.records.model_info import Preprocessing

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.line = nn.Linear(3, width)
        self.preprocessing = {"resize_px": 32, "crop_px": [32, 32], "interpolation": "bicubic"}

    def forward(self, x):
        return self.line(x.mean(dim=(2, 3)))

def wide():
    net = Net(7)
    del net.preprocessing
    return net

def no_module():
    return 3

def picture():
    return nn.Identity()

def wants(arguments):
    return Net()
"""


@pytest.fixture
def factory_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_nets.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "their_nets", raising=False)
    return "their_nets"


def test_own_factory_is_found_in_the_current_folder(factory_module: str) -> None:
    model = load_model(f"{factory_module}:Net", weights="default")
    assert model.info.dim == 5
    assert model.info.preprocessing == Preprocessing(resize_px=32, crop_px=(32, 32), interpolation="bicubic")
    wide = load_model(f"{factory_module}:wide", weights="default")
    assert wide.info.dim == 7
    assert wide.info.preprocessing == Preprocessing(resize_px=256, crop_px=(224, 224))


def test_own_factory_gives_every_worker_the_same_numbers(factory_module: str, tmp_path: Path) -> None:
    name = f"{factory_module}:Net"
    digest = load_model(name, weights="default").info.weights_digest
    assert load_model(name, weights="default").info.weights_digest == digest
    seeded = load_model(name, weights="random:3")
    assert seeded.info.weights_digest != digest
    torch.save(seeded.backbone.state_dict(), tmp_path / "w.pt")
    assert load_model(name, weights=str(tmp_path / "w.pt")).info.weights_digest == seeded.info.weights_digest


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("their_nets:absent", "has no function absent"),
        ("their_nets:no_module", "must return a torch.nn.Module, not a int"),
        ("their_nets:picture", "must map float"),
        ("their_nets:wants", "must be callable without arguments"),
        ("no_such_nets:Net", "cannot import no_such_nets"),
        ("their_nets:", "give both sides of the colon"),
    ],
)
@pytest.mark.usefixtures("factory_module")
def test_wrong_factory_is_a_usage_error(factory: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        load_model(factory, weights="default")
    assert "\n" not in str(caught.value)
