"""Trained heads, live: by every protocol the numbers that the head gives for the features of the model."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import tritonclient.http as triton
from conftest import ClipFactory
from numpy.typing import NDArray
from patience import PATIENCE_S
from served_heads import LABELS, put, said
from serving import Live, encoded, noise, serving

from pipeline.models.heads.head import Head
from pipeline.records.units import VideoSamples
from serve.settings import HeadSettings, Limits

PICTURE = encoded(noise())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def heads(folder: Path) -> dict[str, Head]:
    return {
        "frame": put(folder, "frame", "mlp:8", steps=("standardize",)),
        "changes": put(folder, "changes", steps=("delta",)),
        "window": put(folder, "window", unit="window:1/0.5", steps=("delta", "l2"), pool=("mean", "std")),
        "motion": put(folder, "motion", "gru:4", unit="window:2"),
        "whole": put(folder, "whole", unit="video", pool=("max",)),
        "several": put(folder, "several", is_multi_label=True),
    }


@pytest.fixture(scope="module")
def live(folder: Path, heads: dict[str, Head]) -> Iterator[Live]:
    settings = HeadSettings(folder=str(folder), default="frame")
    with serving(heads=settings, limits=Limits(decoders=1, max_samples=200)) as running:
        yield running


@pytest.fixture(scope="module")
def clip(clips: ClipFactory) -> bytes:
    return clips(num_frames=90, fps=25).read_bytes()


def features_of(live: Live, body: bytes, kind: str = "image/png", *, sample: str = "fps:1") -> list[dict[str, Any]]:
    answer = live.post(f"/v1/embed?sample={sample}", body, kind)
    assert answer.status_code == 200, answer.text
    samples: list[dict[str, Any]] = answer.json()["samples"]
    return samples


def matrix(samples: list[dict[str, Any]]) -> NDArray[np.float32]:
    return np.array([sample["feature"] for sample in samples], np.float32)


def test_heads_are_listed_with_what_is_known_of_them(live: Live, heads: dict[str, Head]) -> None:
    listed = {head["name"]: head for head in live.get("/v1/heads").json()["heads"]}
    assert listed.keys() == heads.keys()
    assert listed["window"] == {
        "name": "window",
        "version": 1,
        "digest": heads["window"].digest,
        "labels": list(LABELS),
        "unit": "window:1/0.5",
        "score": 0.75,
        "state": "ready",
    }
    [model] = live.get("/v1/models").json()["models"]
    assert model["heads"] == sorted(heads)


@pytest.mark.parametrize("name", ["frame", "changes", "window", "motion", "whole", "several"])
@pytest.mark.quick_one_in(4)
def test_video_gets_the_numbers_of_the_archive_for_each_unit(
    live: Live, heads: dict[str, Head], clip: bytes, name: str
) -> None:
    """Sampled by the head's own rule, ``fps:5``, where the request has none."""
    samples = features_of(live, clip, "video/mp4", sample="fps:5")
    assert len(samples) == 18
    times = VideoSamples(
        epochs=np.zeros(18, np.int32),
        pts=np.array([sample["pts"] for sample in samples], np.int64),
        times_s=np.array([sample["time_s"] for sample in samples]),
        end_s=90 / 25,
    )
    expected = heads[name].answer(matrix(samples), times)
    answer = live.post(f"/v1/classify?head={name}", clip, "video/mp4")
    body = answer.json()
    assert [unit["time_s"] for unit in body["units"]] == expected.units.time_s.tolist()
    assert [unit["end_s"] for unit in body["units"]] == expected.units.end_s.tolist()
    got = np.stack([said(unit["labels"]) for unit in body["units"]])
    assert np.abs(got - expected.probabilities).max() <= 1e-5
    for unit in body["units"]:
        probabilities = [label["probability"] for label in unit["labels"]]
        assert probabilities == sorted(probabilities, reverse=True)
    assert (body["model"], body["fingerprint"]) == ("video_cnn", live.service.fingerprint)
    assert (body["head"], body["version"], body["digest"], body["missing"]) == (name, 1, heads[name].digest, [])
    assert answer.headers["x-vidlake-head"] == f"{name}@1"
    assert answer.headers["x-vidlake-head-digest"] == heads[name].digest


def test_sample_of_the_request_goes_before_the_heads_own(live: Live, clip: bytes) -> None:
    answer = live.post("/v1/classify?head=frame&sample=every:30", clip, "video/mp4")
    assert [unit["time_s"] for unit in answer.json()["units"]] == [0.0, 1.2, 2.4]


@pytest.mark.parametrize("name", ["frame", "changes", "several"])
def test_picture_is_one_unit_of_a_head_of_frames(live: Live, heads: dict[str, Head], name: str) -> None:
    [unit] = live.post(f"/v1/classify?head={name}", PICTURE).json()["units"]
    one = VideoSamples(epochs=np.zeros(1, np.int32), pts=np.zeros(1, np.int64), times_s=np.zeros(1), end_s=None)
    expected = heads[name].answer(matrix(features_of(live, PICTURE)), one).probabilities[0]
    assert np.abs(said(unit["labels"]) - expected).max() <= 1e-6
    [first] = live.post(f"/v1/classify?head={name}&top=1", PICTURE).json()["units"]
    assert first["labels"] == unit["labels"][:1]


@pytest.mark.parametrize(
    ("name", "unit"), [("window", "windows of 1 s"), ("motion", "windows of 2 s"), ("whole", "whole videos")]
)
@pytest.mark.parametrize("route", ["/v1/classify", "/score"])
def test_picture_for_a_head_that_wants_more_is_refused_with_the_reason(
    live: Live, route: str, name: str, unit: str
) -> None:
    answer = live.post(f"{route}?head={name}", PICTURE)
    assert answer.status_code == 400
    assert unit in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ["/v1/classify", "/score"])
def test_head_that_is_not_there_is_not_found(live: Live, route: str) -> None:
    answer = live.post(f"{route}?head=nobody", PICTURE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "nobody" in answer.json()["error"]["message"]


def test_classify_answers_by_a_head_only_where_one_is_named(live: Live) -> None:
    """``--default-head`` is for ``/score`` and the socket."""
    answer = live.post("/v1/classify", PICTURE)
    assert "samples" in answer.json()
    assert "x-vidlake-head" not in answer.headers


def test_units_come_as_arrow_where_that_is_asked_for(live: Live, heads: dict[str, Head], clip: bytes) -> None:
    answer = live.post("/v1/classify?head=motion", clip, "video/mp4", accept="application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    assert table["time_s"].to_pylist() == [0.0, 2.0]
    assert table["end_s"].to_pylist() == [2.0, 4.0]
    assert {label["label"] for label in table["labels"][0].as_py()} == set(LABELS)
    assert table.schema.metadata[b"digest"] == heads["motion"].digest.encode()
    assert answer.headers["x-vidlake-head"] == "motion@1"


def test_damaged_video_gives_the_units_that_it_has_and_says_what_is_missing(live: Live, clips: ClipFactory) -> None:
    whole = clips(container="mkv", num_frames=150).read_bytes()
    body = live.post("/v1/classify?head=frame", whole[: len(whole) // 2], "video/x-matroska").json()
    assert 0 < len(body["units"]) < 30
    [missing] = body["missing"]
    assert (missing["code"], missing["end_s"]) == ("truncated", pytest.approx(6, abs=0.1))


def classifications(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["inferences"]
    assert {item["type"] for item in items} == {"classification"}
    return items


@pytest.mark.parametrize("path", ["/score?head=frame&top=3", "/score?top=3"], ids=["named", "the default one"])
def test_score_gives_the_labels_of_a_head(live: Live, heads: dict[str, Head], path: str) -> None:
    answer = live.post(path, PICTURE)
    items = classifications(answer)
    expected = live.post("/v1/classify?head=frame", PICTURE).json()["units"][0]["labels"]
    tags = [item["classification"]["tag"] for item in items]
    assert [tag["value"] for tag in tags] == [label["label"] for label in expected]
    assert [tag["confidence"] for tag in tags] == pytest.approx([label["probability"] for label in expected], abs=1e-6)
    assert items[0]["subtype"] == "frame"
    assert items[0]["extensions"]["digest"] == heads["frame"].digest
    assert answer.headers["x-vidlake-head"] == "frame@1"
    nothing = live.post(f"{path}&confidence=1", PICTURE)
    assert (nothing.status_code, nothing.headers["x-vidlake-head"]) == (204, "frame@1")


@pytest.fixture
def client(live: Live) -> Iterator[Any]:
    client = triton.InferenceServerClient(live.host)
    yield client
    client.close()


def tensor(name: str, values: NDArray[Any], datatype: str, *, is_binary: bool = True) -> Any:
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=is_binary)
    return given


def test_head_is_a_model_of_the_open_inference_protocol(client: Any) -> None:
    assert client.is_model_ready("frame")
    assert client.is_model_ready("frame", "1")
    assert not client.is_model_ready("frame", "2")
    assert not client.is_model_ready("nobody")
    about = client.get_model_metadata("frame")
    assert {one["name"]: (one["datatype"], one["shape"]) for one in about["inputs"]} == {
        "pixels": ("UINT8", [-1, 128, 128, 3]),
        "image": ("BYTES", [-1]),
        "feature": ("FP32", [-1, 512]),
    }
    assert {one["name"]: (one["datatype"], one["shape"]) for one in about["outputs"]} == {
        "probability": ("FP32", [-1, 3]),
        "label": ("BYTES", [-1]),
    }
    assert about["versions"] == ["1"]
    listed = {model["name"]: model["state"] for model in client.get_model_repository_index()}
    assert listed["video_cnn"] == listed["frame"] == listed["whole"] == "READY"


@pytest.mark.parametrize("is_binary_in", [True, False])
@pytest.mark.parametrize("is_binary_out", [True, False])
def test_triton_client_asks_a_head_about_features(
    heads: dict[str, Head], client: Any, is_binary_in: bool, is_binary_out: bool
) -> None:
    x = np.random.default_rng(2).normal(size=(9, 512)).astype(np.float32)
    wanted = [triton.InferRequestedOutput(name, binary_data=is_binary_out) for name in ("label", "probability")]
    result = client.infer("frame", [tensor("feature", x, "FP32", is_binary=is_binary_in)], outputs=wanted)
    expected = heads["frame"].frames(x)
    assert np.abs(result.as_numpy("probability") - expected).max() <= 1e-6
    labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label").tolist()]
    assert labels == [LABELS[at] for at in expected.argmax(axis=1)]
    assert result.get_response()["model_version"] == "1"


def test_triton_client_asks_a_head_about_pictures(live: Live, client: Any) -> None:
    pictures = np.array([PICTURE, encoded(noise(seed=1))], dtype=np.object_)
    result = client.infer("frame", [tensor("image", pictures, "BYTES")]).as_numpy("probability")
    for row, picture in zip(result, pictures, strict=True):
        [unit] = live.post("/v1/classify?head=frame", picture).json()["units"]
        assert np.abs(row - said(unit["labels"])).max() <= 1e-5


def test_rows_for_a_head_of_windows_are_the_samples_of_one(heads: dict[str, Head], client: Any) -> None:
    x = np.random.default_rng(3).normal(size=(10, 512)).astype(np.float32)
    [row] = client.infer("motion", [tensor("feature", x, "FP32")]).as_numpy("probability")
    two_seconds = VideoSamples(
        epochs=np.zeros(10, np.int32), pts=np.arange(10, dtype=np.int64), times_s=np.arange(10) / 5, end_s=2.0
    )
    [expected] = heads["motion"].answer(x, two_seconds).probabilities
    assert np.abs(row - expected).max() <= 1e-6


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        pytest.param([1, 511], [0.0] * 511, id="another length"),
        pytest.param([512], [0.0] * 512, id="no rows"),
        pytest.param([1, 512], [0.0] * 511, id="too few"),
        pytest.param([1, 512], ["a"] * 512, id="letters"),
        pytest.param([1, 512], [1e300] * 512, id="beyond float32"),
    ],
)
def test_features_that_do_not_fit_are_refused(live: Live, shape: list[int], data: list[object]) -> None:
    document = {"inputs": [{"name": "feature", "shape": shape, "datatype": "FP32", "data": data}]}
    answer = httpx.post(f"{live.url}/v2/models/frame/infer", json=document, timeout=PATIENCE_S)
    assert answer.status_code == 400
    assert "feature" in answer.json()["error"]
    own = httpx.post(f"{live.url}/v2/models/video_cnn/infer", json=document, timeout=PATIENCE_S)
    assert own.status_code == 400, "the model itself takes pictures alone"


def test_answer_by_the_open_inference_protocol_names_the_head(live: Live) -> None:
    document = {"inputs": [{"name": "feature", "shape": [1, 512], "datatype": "FP32", "data": [0.5] * 512}]}
    answer = httpx.post(f"{live.url}/v2/models/frame/infer", json=document, timeout=PATIENCE_S)
    assert answer.headers["x-vidlake-head"] == "frame@1"
