"""``serve --from``: a dataset is data. What its metadata names runs, or is fetched, if the command line repeats it."""

import contextlib
import json
from pathlib import Path

import pytest
from commanded import refused

from pipeline.lake.appended_file import file_of
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import CONFIG, DatasetInfo
from pipeline.models.zoo.video_cnn import PREPROCESSING
from pipeline.records.model_info import ModelInfo
from pipeline.records.tables import FEATURES

ADDRESS = "https://evil.example/weights.pt"


@pytest.fixture(params=["by its configuration", "by its footers"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a module whose import leaves a trace, and the way in which the dataset in it describes itself."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef make(): raise SystemExit\n")
    (tmp_path / "lake" / "_vidlake").mkdir(parents=True)
    (tmp_path / "lake" / FEATURES).mkdir()
    (tmp_path / request.param).touch()
    return tmp_path


def describe(folder: Path, *, model: str = "video_cnn", weights: str = "random:3") -> None:
    """Write a dataset that says so of itself."""
    made_by = ModelInfo(name=model, dim=512, weights_digest="0" * 64, preprocessing=PREPROCESSING)
    config = DatasetConfig(model=made_by, sample="fps:1", precision="fp32", dtype="float32")
    info = DatasetInfo(config=config, weights=weights)
    if (folder / "by its configuration").exists():
        (folder / "lake" / CONFIG).write_text(json.dumps(info.to_json()))
    footer = file_of(info.features.schema.empty_table(), [])
    (folder / "lake" / FEATURES / "part.parquet").write_bytes(footer.to_pybytes())


def refusal(folder: Path, *words: str) -> str:
    with contextlib.chdir(folder):
        complaint = refused("--from", "lake", *words)
    assert not (folder / "ran").exists(), "the dataset's module ran"
    return complaint


def test_module_that_a_dataset_names_is_not_imported(folder: Path) -> None:
    describe(folder, model="evil:make")
    assert "add --model evil:make" in refusal(folder)


def test_address_that_a_dataset_names_is_not_read(folder: Path) -> None:
    describe(folder, weights=ADDRESS)
    assert f"add --weights {ADDRESS}" in refusal(folder)


def test_all_words_that_are_missing_are_named_at_once(folder: Path) -> None:
    describe(folder, model="evil:make", weights=ADDRESS)
    assert f"add --model evil:make --weights {ADDRESS}" in refusal(folder)
    assert f"add --weights {ADDRESS}" in refusal(folder, "--model", "evil:make")


def test_another_model_than_the_datasets_is_refused(folder: Path) -> None:
    describe(folder, model="evil:make")
    assert "is evil:make, and not other:make as --model says" in refusal(folder, "--model", "other:make")


def test_name_that_is_no_single_line_is_quoted(folder: Path) -> None:
    describe(folder, model="evil:make\n\x1b[2Jvidlake: all is well")
    assert "\x1b" not in refusal(folder)
