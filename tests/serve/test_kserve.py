"""``/v2``: the Open Inference Protocol, spoken by NVIDIA's own client and by hand."""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from serving import Live, encoded, noise, serving

from pipeline.models.preprocess import prepare
from pipeline.models.zoo.video_cnn import PREPROCESSING
from serve.settings import Limits, ModelSettings

INFER = "/v2/models/video_cnn/infer"
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(limits=Limits(max_samples=6, decoders=1)) as running:
        yield running


@pytest.fixture
def client(live: Live) -> Iterator[Any]:
    client = triton.InferenceServerClient(live.host)
    yield client
    client.close()


def inputs(count: int = 3) -> NDArray[Any]:
    return np.stack([prepare(noise(seed=seed), preprocessing=PREPROCESSING) for seed in range(count)])


def test_triton_client_finds_the_server_and_its_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready("video_cnn")
    assert client.is_model_ready("video_cnn", "1")
    about = client.get_model_metadata("video_cnn")
    assert about["inputs"][0] == {"name": "pixels", "datatype": "UINT8", "shape": [-1, 128, 128, 3]}
    assert [output["shape"] for output in about["outputs"]] == [[-1, 512], [-1, 1000]]


@pytest.mark.parametrize("is_binary_in", [True, False])
@pytest.mark.parametrize("is_binary_out", [True, False])
def test_triton_client_infers_from_pixels(live: Live, client: Any, is_binary_in: bool, is_binary_out: bool) -> None:
    tensor = triton.InferInput("pixels", [3, 128, 128, 3], "UINT8")
    tensor.set_data_from_numpy(inputs(), binary_data=is_binary_in)
    wanted = [triton.InferRequestedOutput(name, binary_data=is_binary_out) for name in ("probability", "feature")]
    answer = client.infer("video_cnn", [tensor], outputs=wanted, request_id="7")
    assert answer.get_response()["id"] == "7"
    assert answer.as_numpy("probability").sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-4)
    for seed, feature in enumerate(answer.as_numpy("feature")):
        [sample] = live.post("/v1/embed", encoded(noise(seed=seed))).json()["samples"]
        assert np.abs(feature - sample["feature"]).max() <= 1e-5


def test_triton_client_infers_from_encoded_pictures(live: Live, client: Any) -> None:
    pictures = [encoded(noise(seed=seed), kind) for seed, kind in enumerate(("PNG", "BMP"))]
    tensor = triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(pictures, dtype=np.object_), binary_data=True)
    features = client.infer("video_cnn", [tensor], model_version="1").as_numpy("feature")
    document = {"name": "image", "shape": [2], "datatype": "BYTES"}
    document["data"] = [base64.b64encode(picture).decode() for picture in pictures]
    answer = live.post(INFER, orjson.dumps({"inputs": [document]}), "application/json").json()
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs.keys() == {"feature", "probability"}
    assert np.allclose(np.reshape(outputs["feature"]["data"], (2, 512)), features, atol=1e-6)


def test_all_outputs_are_binary_where_the_request_says_so(live: Live) -> None:
    pixels = {"name": "pixels", "shape": [1, 128, 128, 3], "datatype": "UINT8", "data": inputs(1).tolist()}
    request = {"inputs": [pixels], "parameters": {"binary_data_output": True}}
    answer = live.post(INFER, orjson.dumps(request), "application/json")
    length = int(answer.headers[HEADER])
    sizes = [output["parameters"]["binary_data_size"] for output in orjson.loads(answer.content[:length])["outputs"]]
    assert sizes == [512 * 4, 1000 * 4]
    assert len(answer.content) == length + sum(sizes)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "pixels", "shape": [1, 128, 128, 3], "datatype": "UINT8", "data": [0] * 49152, **changes}


def image(**changes: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AAAA"], **changes}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="no inputs"),
        pytest.param({"inputs": []}, id="empty inputs"),
        pytest.param([], id="no object"),
        pytest.param({"inputs": [tensor(), image()]}, id="two inputs"),
        pytest.param({"inputs": [tensor(name="video")]}, id="unknown input"),
        pytest.param({"inputs": [tensor(datatype="FP32")]}, id="wrong type"),
        pytest.param({"inputs": [tensor(shape=[2, 128, 128, 3])]}, id="too few numbers"),
        pytest.param({"inputs": [tensor(shape=[1, 128, 3])]}, id="wrong shape"),
        pytest.param({"inputs": [tensor(shape=[-1, 128, 128, 3])]}, id="negative shape"),
        pytest.param({"inputs": [tensor(shape=[0, 128, 128, 3], data=[])]}, id="no pictures"),
        pytest.param({"inputs": [tensor(shape=[9, 128, 128, 3])]}, id="too many pictures"),
        pytest.param({"inputs": [tensor(data=[256] * 49152)]}, id="numbers out of range"),
        pytest.param({"inputs": [tensor(data=[0.5] * 49152)]}, id="fractions"),
        pytest.param({"inputs": [tensor(data=[[0], [0, 1]])]}, id="ragged"),
        pytest.param({"inputs": [tensor(data=[2**70])]}, id="numbers of any size"),
        pytest.param({"inputs": [tensor(data=["a"])]}, id="letters"),
        pytest.param({"inputs": [tensor(data=None)]}, id="no data"),
        pytest.param({"inputs": [tensor(data=None, parameters={"binary_data_size": 9})]}, id="no such binary"),
        pytest.param({"inputs": [tensor()], "outputs": [{"name": "logits"}]}, id="unknown output"),
        pytest.param({"inputs": [image(data=["?"])]}, id="no base64"),
        pytest.param({"inputs": [image(data=[7])]}, id="no text"),
        pytest.param({"inputs": [image()]}, id="no picture"),
        pytest.param({"inputs": [image(shape=[2])]}, id="one picture of two"),
    ],
)
def test_request_that_does_not_fit_is_told_why(live: Live, document: Any) -> None:
    answer = live.post(INFER, json.dumps(document).encode(), "application/json")
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("body", "length"),
    [
        pytest.param(b"not json", None, id="no JSON"),
        pytest.param(b"{}", "many", id="length that is no number"),
        pytest.param(b"{}", "99", id="length past the end"),
        pytest.param(b"{}", "-1", id="negative length"),
        pytest.param(b"\xff\xfe{}", None, id="no UTF-8"),
    ],
)
def test_body_that_does_not_parse_is_told_why(live: Live, body: bytes, length: str | None) -> None:
    headers = {} if length is None else {"Inference_Header_Content_Length": length}
    answer = live.post(INFER, body, "application/json", **headers)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_picture_that_reaches_past_the_body_is_told_so(live: Live) -> None:
    header = orjson.dumps({"inputs": [image(data=None, parameters={"binary_data_size": 6})]})
    for tail in (struct.pack("<I", 99) + b"ab", b"abcdef"):
        length = str(len(header))
        answer = live.post(INFER, header + tail, "application/octet-stream", Inference_Header_Content_Length=length)
        assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/ready", "/v2/models/video_cnn/versions/2"])
def test_unknown_model_or_version_is_not_found(live: Live, path: str) -> None:
    answer = live.get(path)
    assert answer.status_code == 404
    assert isinstance(answer.json()["error"], str)
    assert live.post("/v2/models/other/infer", b"{}", "application/json").status_code == 404


def test_model_whose_name_holds_a_slash_is_found() -> None:
    name = "timm/resnet18"
    with serving(model=ModelSettings(name=name, weights="random:0", num_threads=1, batch_size=1)) as slashed:
        client = triton.InferenceServerClient(slashed.host)
        assert client.is_model_ready(name)
        assert client.get_model_metadata(name)["name"] == name
        client.close()
