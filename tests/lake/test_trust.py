"""A dataset is data: opening one that somebody else made runs no code and reads no address that its metadata names."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rows import config, dataset_info, finished, new_dataset

from pipeline.errors import RunError, UsageError
from pipeline.lake.appended_file import file_of
from pipeline.lake.dataset import CONFIG, Dataset, DatasetInfo
from pipeline.lake.trust import trusted
from pipeline.records.settled import Settled

ADDRESS = "https://evil.example/weights.pt"
Describe = Callable[..., Dataset]


@pytest.fixture(params=["by its configuration", "by its footers"])
def describe(request: pytest.FixtureRequest, tmp_path: Path) -> Describe:
    """A dataset that says so of itself, in either of the places where it is looked for."""

    def dataset(*, model: str = "video_cnn", weights: str = "random:0") -> Dataset:
        info = DatasetInfo(config=config(model=model), weights=weights)
        (tmp_path / "features").mkdir()
        (tmp_path / "features/part.parquet").write_bytes(file_of(info.features.schema.empty_table(), []).to_pybytes())
        if request.param == "by its configuration":
            (tmp_path / "_vidlake").mkdir()
            (tmp_path / CONFIG).write_text(json.dumps(info.to_json()))
        return Dataset.at(str(tmp_path))

    return dataset


@pytest.mark.parametrize("weights", ["default", "random:0", "random:18446744073709551615"])
@pytest.mark.parametrize("model", ["video_cnn", "efficientnet_lite0", "resnet18", "timm/vit_tiny_patch16_224.in1k"])
def test_names_of_the_registry_and_its_weights_are_taken(describe: Describe, model: str, weights: str) -> None:
    info = describe(model=model, weights=weights).existing()
    assert trusted(info, uri="lake", model=None, weights=None) == info
    assert trusted(info, uri="lake", model=model, weights=weights) == info


@pytest.mark.parametrize(
    "model",
    ["evil:make", "os:system", ":", "a.b:c", "timm/hf-hub:evil/model", "../evil", "/tmp/evil.py", "timm/../evil", ""],
)
def test_model_outside_the_registry_must_be_repeated(describe: Describe, model: str) -> None:
    info = describe(model=model).existing()
    with pytest.raises(UsageError, match="the model of lake is not vidlake's own; if you trust it, add --model "):
        trusted(info, uri="lake", model=None, weights=None)
    assert trusted(info, uri="lake", model=model, weights=None) == info


@pytest.mark.parametrize(
    "weights",
    [
        ADDRESS,
        "/etc/passwd",
        "weights.pt",
        "s3://bucket/w.pt",
        "random:",
        "random:x",
        "random:" + "9" * 5000,
        "",
        "Default",
    ],
)
def test_weights_that_are_read_must_be_repeated(describe: Describe, weights: str) -> None:
    info = describe(weights=weights).existing()
    with pytest.raises(UsageError, match="if you trust it, add --weights "):
        trusted(info, uri="lake", model="video_cnn", weights=None)
    assert trusted(info, uri="lake", model=None, weights=weights).weights == weights


def test_all_words_that_are_missing_are_named_at_once(describe: Describe) -> None:
    info = describe(model="evil:make", weights=ADDRESS).existing()
    with pytest.raises(UsageError, match=f"add --model evil:make --weights {ADDRESS}$"):
        trusted(info, uri="lake", model=None, weights=None)


def test_weights_may_lie_elsewhere_by_now(describe: Describe) -> None:
    info = describe(weights="/old/weights.pt").existing()
    assert trusted(info, uri="lake", model=None, weights="/new/weights.pt") == replace(info, weights="/new/weights.pt")


def test_another_model_is_refused(describe: Describe) -> None:
    info = describe(model="evil:make").existing()
    with pytest.raises(UsageError, match="the model of lake is evil:make, and not other:make as --model says"):
        trusted(info, uri="lake", model="other:make", weights=None)


@pytest.mark.parametrize("word", ["evil:make\nvidlake: all is well", "evil:\x1b[2J", "evil:\ud800", "a b; rm -rf ~:x"])
def test_message_is_one_line_that_can_be_pasted(describe: Describe, word: str) -> None:
    info = describe(model=word).existing()
    with pytest.raises(UsageError) as caught:
        trusted(info, uri="lake", model=None, weights=None)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("'")


def hostile(**changes: Any) -> str:
    document: dict[str, Any] = json.loads(json.dumps(dataset_info().to_json()))
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = document
        for parent in parents:
            place = place[parent]
        place[name] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(hostile(weights=["x"]), id="weights-that-are-a-list"),
        pytest.param(hostile(weights=None), id="no-weights"),
        pytest.param(hostile(model__name={"a": 1}), id="a-name-that-is-an-object"),
        pytest.param(hostile(model__dim="4"), id="a-length-that-is-text"),
        pytest.param(hostile(model__dim=-1), id="a-length-below-zero"),
        pytest.param(hostile(model__dim=10**15), id="a-length-beyond-memory"),
        pytest.param(hostile(model__further="x"), id="a-model-that-says-more"),
        pytest.param(hostile(model__preprocessing__crop_px=[10**6, 10**6]), id="pictures-beyond-memory"),
        pytest.param(hostile(model__preprocessing__crop_px=[4]), id="half-a-size"),
        pytest.param(hostile(model__preprocessing__crop_px=True), id="a-size-that-is-true"),
        pytest.param(hostile(model__preprocessing__mean=["x", 0, 0]), id="a-mean-that-is-text"),
        pytest.param(hostile(model__preprocessing__interpolation="lanczos"), id="a-way-to-resize-that-is-none"),
        pytest.param(hostile(dtype="float64"), id="a-type-that-is-none"),
        pytest.param("[" * 100_000, id="brackets-without-end"),
        pytest.param("9" * 5000, id="a-number-without-end"),
        pytest.param('"\\ud800"', id="half-a-character"),
    ],
)
def test_configuration_that_is_none_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    dataset, _ = new_dataset(tmp_path)
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(UsageError, match=r"config\.json is damaged") as caught:
        dataset.info()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "footer",
    [
        "[" * 100_000,
        '{"a": 1}',
        "[[]]",
        '[{"video_id": ["x"]}]',
        *(
            json.dumps([{**Settled.complete("x", 0, attempts=1, num_samples=2).to_json(), **change}])
            for change in (
                {"segment": "0"},
                {"segment": -3},
                {"num_samples": 10**30},
                {"num_samples": -2},
                {"num_samples": None},
                {"video_id": None},
                {"video_id": "x" * 21},
            )
        ),
    ],
)
def test_footer_that_is_none_is_told_in_one_line(tmp_path: Path, footer: str) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(finished("a"), dataset_info(), token=token)
    [path] = (tmp_path / "features").iterdir()
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"vidlake.settled": footer})
    with pytest.raises(RunError, match=f"{path.name} cannot be among the features") as caught:
        dataset.settled()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "weights", "missing"),
    [
        pytest.param("evil:make", "default", "--model evil:make", id="code"),
        pytest.param("video_cnn", ADDRESS, f"--weights {ADDRESS}", id="an-address"),
    ],
)
@pytest.mark.quick_one_in(4)
def test_retry_names_what_to_add_and_runs_nothing(
    describe: Describe, tmp_path: Path, model: str, weights: str, missing: str
) -> None:
    describe(model=model, weights=weights)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef make(): raise SystemExit\n")
    command = [sys.executable, "-P", "-m", "pipeline", "retry", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].endswith(f"if you trust it, add {missing}")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ran").exists()
