"""A head on disk: canonical bytes, and one line for whatever somebody made of them."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import head_info, network_arrays
from safetensors.numpy import load, save

from pipeline.errors import UsageError
from pipeline.lake.publishing.folder_store import FolderStore
from pipeline.models.heads.artifact import digest_of_head, head_bytes, read_document, read_head
from pipeline.models.heads.files import FILES, MAX_DOCUMENT_BYTES
from pipeline.models.heads.registry import HeadAddress, Heads, current_bytes
from pipeline.records.heads import HeadInfo

RNG = np.random.default_rng(3)
X = RNG.normal(size=(9, 6)).astype(np.float32)
INFO = head_info("mlp:5", steps=("delta", "standardize", "pca:3"), temperature=1.5)


def tree_bytes() -> dict[str, bytes]:
    trees: dict[str, Any] = {
        "roots": np.array([0]),
        "left": np.array([1, -1, -1]),
        "right": np.array([2, -1, -1]),
        "feature": np.array([4, 0, 0]),
        "threshold": np.zeros(3),
        "values": np.eye(3)[:2],
    }
    return head_bytes(head_info("tree"), {f"trees.{name}": array for name, array in trees.items()})


def written(folder: Path, files: Mapping[str, bytes], *, version: str = "people/1") -> FolderStore:
    store = FolderStore(str(folder))
    for name, data in files.items():
        store.publish(f"{version}/{name}", data, overwrite=True)
    return store


@pytest.mark.parametrize("info", [INFO, head_info("gru:4", unit="window:2/1", is_multi_label=True)], ids=["mlp", "gru"])
def test_a_head_comes_back_as_it_was_written(tmp_path: Path, info: HeadInfo) -> None:
    files = head_bytes(info, network_arrays(info))
    head = read_head(written(tmp_path, files), "people/1")
    assert head.info == info
    assert head.digest == digest_of_head(files["head.json"], files["weights.safetensors"])
    assert len(head.digest) == 64
    assert read_head(FolderStore(str(tmp_path / "people" / "1")), "").digest == head.digest
    shuffled = {name: network_arrays(info)[name] for name in reversed(sorted(network_arrays(info)))}
    assert head_bytes(info, shuffled) == files, "the same head, the same bytes"


def test_a_head_answers_as_before_it_was_written(tmp_path: Path) -> None:
    files = tree_bytes()
    head = read_head(written(tmp_path, files), "people/1")
    assert head.frames(X).tolist() == [([1.0, 0.0, 0.0] if x[4] <= 0 else [0.0, 1.0, 0.0]) for x in X]


def test_arrays_that_do_not_fit_are_not_written() -> None:
    with pytest.raises(ValueError, match=r"lacks network\.hidden\.bias"):
        head_bytes(INFO, {**network_arrays(head_info("linear", steps=INFO.steps))})


def refusal(folder: Path, files: Mapping[str, bytes]) -> str:
    with pytest.raises(UsageError) as caught:
        read_head(written(folder, files), "people/1")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < len(str(folder)) + 400
    return message


def changed(files: Mapping[str, bytes], **arrays: Any) -> dict[str, bytes]:
    """With some arrays replaced (``None``: left out); dots in names are written as double underscores."""
    numbers = load(files["weights.safetensors"]) | {name.replace("__", "."): a for name, a in arrays.items()}
    return {**files, "weights.safetensors": save({n: a for n, a in numbers.items() if a is not None})}


MLP = head_bytes(INFO, network_arrays(INFO))
HUGE = struct.pack("<Q", 1 << 60) + b"{}"
LYING = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param({**MLP, "weights.safetensors": b""}, "no safetensors file", id="empty"),
        pytest.param({**MLP, "weights.safetensors": MLP["weights.safetensors"][:-1]}, "no safetensors", id="cut-off"),
        pytest.param({**MLP, "weights.safetensors": b"\x80\x04pickle."}, "no safetensors file", id="a-pickle"),
        pytest.param({**MLP, "weights.safetensors": HUGE}, "no safetensors file", id="a-header-beyond-the-file"),
        pytest.param(
            {**MLP, "weights.safetensors": struct.pack("<Q", len(LYING)) + LYING}, "no safetensors", id="lying-shape"
        ),
        pytest.param(
            changed(MLP, network__output__bias=np.zeros(1, np.float32)),
            r"network.output.bias is float32[1], not float32[3]",
            id="shape",
        ),
        pytest.param(
            changed(MLP, network__output__bias=np.zeros(3)), "is float64[3], not float32[3]", id="another-type"
        ),
        pytest.param(changed(MLP, network__output__bias=np.zeros(3, np.uint8)), "which no head has", id="foreign-type"),
        pytest.param(changed(MLP, network__output__bias=None), "lacks network.output.bias", id="lacks-one"),
        pytest.param(changed(MLP, bomb=np.zeros(3)), "has 'bomb' too", id="one-too-many"),
        pytest.param(changed(MLP, network__output__bias=np.full(3, np.nan, np.float32)), "not finite", id="not-finite"),
        pytest.param(changed(MLP, step1__scale=np.zeros(12, np.float32)), "not above zero", id="zero-scale"),
        pytest.param(changed(tree_bytes(), trees__left=np.array([0, -1, -1])), "does not come after it", id="circle"),
        pytest.param(changed(tree_bytes(), trees__left=np.array([9, -1, -1])), "does not come after it", id="beyond"),
        pytest.param(changed(tree_bytes(), trees__values=np.zeros((1, 3))), "1 values for 2 leaves", id="leaves"),
        pytest.param(changed(tree_bytes(), trees__values=np.zeros(1)), "not float64[any, 3]", id="flat-leaves"),
    ],
)
def test_numbers_that_are_not_of_this_head_are_refused_in_one_line(
    tmp_path: Path, files: Mapping[str, bytes], says: str
) -> None:
    message = refusal(tmp_path, files)
    assert says in message
    assert "people/1/weights.safetensors" in message


def document(**changes: object) -> dict[str, bytes]:
    return {**MLP, "head.json": json.dumps(json.loads(MLP["head.json"]) | changes).encode()}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param(document(kind="judge_bomb:Bomb"), "kind is 'judge_bomb:Bomb'", id="a-module"),
        pytest.param(document(kind=["tree"]), "kind is", id="kind-of-another-type"),
        pytest.param(document(labels=["ant", "ant", "cat"]), "labels must be different", id="labels"),
        pytest.param(document(steps=["exec"]), "no feature step", id="step"),
        pytest.param(document(temperature=-1), "above 0", id="temperature"),
        pytest.param(document(unit="minute"), "bad unit", id="unit"),
        pytest.param({**MLP, "head.json": b"{"}, "is no JSON object", id="half"),
        pytest.param({**MLP, "head.json": b"[]"}, "is no JSON object", id="a-list"),
        pytest.param({**MLP, "head.json": b"\xff\xfe{}"}, "is no JSON object", id="other-bytes"),
        pytest.param({**MLP, "head.json": b"[" * 100_000}, "is no JSON object", id="deep"),
        pytest.param({**MLP, "head.json": b"9" * 10_000}, "is no JSON object", id="a-long-number"),
        pytest.param({**MLP, "head.json": b" " * (MAX_DOCUMENT_BYTES + 1)}, "bytes are more than", id="large"),
        pytest.param({**MLP, "head.json": b"{}"}, "lacks 'kind'", id="empty"),
    ],
)
def test_documents_of_no_head_are_refused_in_one_line(tmp_path: Path, files: Mapping[str, bytes], says: str) -> None:
    message = refusal(tmp_path, files)
    assert says in message
    assert "people/1/head.json" in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"steps": ["pca:7"]}, "at most pca:6", id="more-components-than-values"),
        pytest.param({"hidden": 10**30}, "1 to 16384 units", id="a-hidden-layer-beyond-memory"),
        pytest.param({"hidden": 0}, "1 to 16384 units", id="no-hidden-layer"),
        pytest.param({"steps": ["delta"] * 17}, "at most 16 feature steps", id="many-steps"),
        pytest.param({"steps": ["delta"] * 16, "unit": "video"}, "has 'step1.mean' too", id="long-vectors"),
        pytest.param({"pool": []}, "pools", id="no-pool"),
        pytest.param({"pool": ["mean", "mean"]}, "pools", id="twice"),
        pytest.param({"unit": "window:1/0.0001"}, "at least 0.001 s apart", id="windows-beyond-memory"),
        pytest.param({"temperature": float("inf")}, "finite", id="temperature"),
        pytest.param({"multi_label": True, "thresholds": [0.5, 2, 0.5]}, "a threshold is", id="threshold"),
        pytest.param({"kind": "boosting", "multi_label": True, "thresholds": [0.5] * 3}, "one label", id="boosting"),
    ],
)
def test_heads_that_cannot_be_are_refused_before_memory_is_taken(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    assert says in refusal(tmp_path, document(**changes))


def test_a_version_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    store = written(tmp_path, {"head.json": MLP["head.json"]})
    with pytest.raises(UsageError, match=r"people/1/weights\.safetensors: is not there"):
        read_head(store, "people/1")
    with pytest.raises(UsageError, match=r"people/2/head\.json: is not there"):
        read_head(store, "people/2")


def test_heads_are_listed_with_their_versions_and_the_one_in_use(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    assert Heads(store).names() == []
    for version in ("people/1", "people/2", "people/10", "cars/1"):
        store.publish_folder(version, {**MLP, "metrics.json": b'{"test": {"accuracy": 0.5}}'})
    (tmp_path / "people" / "11").mkdir()  # as a bucket shows a version that is on its way
    (tmp_path / "people" / "03").mkdir()
    (tmp_path / "empty").mkdir()
    store.publish("people/current", current_bytes(2))
    heads = Heads(store)
    assert heads.names() == ["cars", "people"]
    assert (heads.versions("people"), heads.versions("none")) == ([1, 2, 10], [])
    assert (heads.current("people"), heads.current("cars")) == (2, None)
    assert [str(heads.load("people")), str(heads.load("people", 10))] == ["people@2", "people@10"]
    assert heads.load("people").head.info == INFO
    assert heads.metrics("people", 1) == {"test": {"accuracy": 0.5}}
    assert set(FILES) >= {"metrics.json", *MLP}


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("people", 3, "there is no version 3; it has 1"),
        ("people", None, "no version is in use; name one as NAME@VERSION (it has 1)"),
        ("none", None, "there is no such head"),
        ("../people", 1, "no head can be called '../people'"),
    ],
)
def test_heads_that_are_not_there_are_told(tmp_path: Path, name: str, version: int | None, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Heads(written(tmp_path, MLP)).load(name, version)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"one", b"-1", b"0", b"1\n2", b"9" * 101, b"\xff"])
def test_a_damaged_word_about_the_version_in_use_is_told(tmp_path: Path, text: bytes) -> None:
    store = written(tmp_path, MLP)
    store.publish("people/current", text)
    with pytest.raises(UsageError, match="people/current"):
        Heads(store).load("people")


def test_metrics_that_are_damaged_are_told(tmp_path: Path) -> None:
    store = written(tmp_path, {**MLP, "metrics.json": b"{"})
    with pytest.raises(UsageError, match=r"people/1/metrics\.json: is no JSON object"):
        Heads(store).metrics("people", 1)
    with pytest.raises(UsageError, match=r"people/2/metrics\.json: is not there"):
        read_document(store, "people/2/metrics.json")


@pytest.mark.parametrize(
    ("text", "heads", "name", "version"),
    [
        ("heads/people", "heads", "people", None),
        ("people@3", ".", "people", 3),
        ("/people/", "/", "people", None),
        ("s3://bucket/people@12", "s3://bucket", "people", 12),
        ("abfs://c@a.dfs.core.windows.net/heads/people", "abfs://c@a.dfs.core.windows.net/heads", "people", None),
        ("../heads/v1.2@7", "../heads", "v1.2", 7),
    ],
)
def test_addresses_of_heads(text: str, heads: str, name: str, version: int | None) -> None:
    address = HeadAddress.parse(text)
    assert address == HeadAddress(heads=heads, name=name, version=version)


@pytest.mark.parametrize(
    "text", ["", "/", "heads/..", "heads/a b", "a@", "a@0", "a@1.5", "a@-1", "s3://a", "h/_vidlake"]
)
def test_addresses_of_no_head_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HEADS/NAME"):
        HeadAddress.parse(text)
