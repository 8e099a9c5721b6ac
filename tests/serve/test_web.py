"""The native routes over HTTP: pictures and videos in, features and labels out, and an answer to every mistake."""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from conftest import ClipFactory
from numpy.typing import NDArray
from patience import PATIENCE_S
from serving import KEY, Live, encoded, noise, serving
from starlette.datastructures import Headers

from pipeline.models.preprocess import prepare
from pipeline.models.zoo.video_cnn import PREPROCESSING
from pipeline.records.model_info import feature_fingerprint
from serve.problems import Problem, code_of, status_of
from serve.settings import Access, Limits
from serve.web.bodies import BodyLimit

SMALL = Limits(
    max_body_bytes=200_000, max_pixels=100_000, max_duration_s=3, max_samples=12, max_seconds=20, queue=4, decoders=1
)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[Live]:
    with serving(limits=SMALL) as running:
        yield running


def features(answer: httpx.Response) -> NDArray[Any]:
    assert answer.status_code == 200, answer.text
    return np.array([sample["feature"] for sample in answer.json()["samples"]], np.float32)


def refused(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["message"]
    assert "Traceback" not in answer.text
    assert not re.search(r"(^|\W)/\w", error["message"]), "a path"
    return answer.status_code, error["code"]


def test_health_and_models_tell_what_is_served(live: Live) -> None:
    assert live.get("/healthz").json() == {"status": "ok"}
    assert live.get("/readyz").json() == {"status": "ready"}
    [model] = live.get("/v1/models").json()["models"]
    assert model["name"] == "video_cnn"
    assert (model["dim"], model["input_size"], model["num_classes"]) == (512, [128, 128], 1000)
    assert model["fingerprint"] == feature_fingerprint(live.service.info, "fp32")


def test_still_is_the_embedders_feature_of_its_prepared_pixels(live: Live) -> None:
    answer = live.post("/v1/embed", encoded(noise()))
    wanted = asyncio.run(live.service.prepared(prepare(noise(), preprocessing=PREPROCESSING)[None]))
    assert np.abs(features(answer) - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())
    [sample] = answer.json()["samples"]
    assert (sample["pts"], sample["time_s"]) == (0, 0)


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "png"), ("BMP", "bmp"), ("WEBP", "webp")])
def test_lossless_encodings_agree(live: Live, kind: str, mime: str) -> None:
    one, other = (
        live.post("/v1/embed", encoded(noise())),
        live.post("/v1/embed", encoded(noise(), kind), f"image/{mime}"),
    )
    assert np.abs(features(one) - features(other)).max() <= 1e-5


UNSURE_TYPES = ("image/png", "image/jpg", "image/pjpeg", "image/x-ms-bmp", "application/octet-stream", "", "video/mp4")


@pytest.mark.parametrize("kind", UNSURE_TYPES)
def test_content_is_sniffed_whatever_the_type_names(live: Live, clips: ClipFactory, kind: str) -> None:
    picture = encoded(noise(), "JPEG")
    assert (features(sent(live, picture, kind)) == features(live.post("/v1/embed", picture, "image/jpeg"))).all()
    assert len(features(sent(live, clips().read_bytes(), kind))) == 2
    if not kind.startswith("video/"):
        answers = [live.post("/score", picture, one).json() for one in (kind, "image/jpeg")]
        assert answers[0] == answers[1]


def sent(live: Live, body: bytes, kind: str) -> httpx.Response:
    """Posted with this type, or without any."""
    headers = {"content-type": kind} if kind else {}
    return httpx.post(f"{live.url}/v1/embed", content=body, headers=headers, timeout=PATIENCE_S)


def test_form_with_a_file_is_taken(live: Live, clips: ClipFactory) -> None:
    picture = httpx.post(
        f"{live.url}/v1/embed", files={"file": ("a.png", encoded(noise()), "image/png")}, timeout=PATIENCE_S
    )
    assert np.allclose(features(picture), features(live.post("/v1/embed", encoded(noise()))), atol=1e-6)
    video = httpx.post(f"{live.url}/v1/embed", files={"file": ("a.mkv", clips().read_bytes())}, timeout=PATIENCE_S)
    assert len(features(video)) == 2


def test_video_gives_a_sample_a_second_or_what_the_rule_asks(live: Live, clips: ClipFactory) -> None:
    body = clips(num_frames=75).read_bytes()
    answer = live.post("/v1/embed", body, "video/mp4")
    assert [sample["time_s"] for sample in answer.json()["samples"]] == [0, 1, 2]
    assert answer.json()["missing"] == []
    assert len(features(live.post("/v1/embed?sample=every:10", body, "video/mp4"))) == 8
    assert len(features(live.post("/v1/embed?sample=all", body, "video/mp4"))) == 75


def test_video_whose_times_are_rounded_gives_every_frame_at_its_rate(live: Live, clips: ClipFactory) -> None:
    body = clips(container="mkv", fps=30, num_frames=60).read_bytes()
    for rule, num_samples in (("fps:30", 60), ("fps:6", 12)):
        assert len(features(live.post(f"/v1/embed?sample={rule}", body, "video/x-matroska"))) == num_samples


def test_damaged_video_gives_what_it_has_and_says_what_is_missing(live: Live, clips: ClipFactory) -> None:
    whole = clips(container="mkv", num_frames=150).read_bytes()
    answer = live.post("/v1/embed?sample=fps:5", whole[: len(whole) // 2], "video/x-matroska")
    assert 0 < len(features(answer)) < 30
    [missing] = answer.json()["missing"]
    assert missing["code"] == "truncated"
    assert missing["end_s"] == pytest.approx(6, abs=0.1)


def test_arrow_holds_the_same_numbers(live: Live, clips: ClipFactory) -> None:
    body, accept = clips(num_frames=75).read_bytes(), {"accept": "application/vnd.apache.arrow.stream"}
    answer = live.post("/v1/embed", body, "video/mp4", **accept)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.schema.field("feature").type == pa.list_(pa.float32(), 512)
    assert table.schema.metadata[b"fingerprint"].decode() == live.service.fingerprint
    assert (
        np.array(table["feature"].to_pylist(), np.float32) == features(live.post("/v1/embed", body, "video/mp4"))
    ).all()


def test_labels_in_arrow_are_those_of_json(live: Live, clips: ClipFactory) -> None:
    body = clips(num_frames=75).read_bytes()
    path = "/v1/classify?top=3"
    table = pa.ipc.open_stream(
        live.post(path, body, "video/mp4", accept="application/vnd.apache.arrow.stream").content
    ).read_all()
    labels = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    assert table.schema.field("labels").type == pa.list_(labels)
    samples = live.post(path, body, "video/mp4").json()["samples"]
    assert table["pts"].to_pylist() == [sample["pts"] for sample in samples]
    for row, sample in zip(table["labels"].to_pylist(), samples, strict=True):
        assert [one["label"] for one in row] == [one["label"] for one in sample["labels"]]
        assert [one["probability"] for one in row] == pytest.approx([one["probability"] for one in sample["labels"]])


def test_classes_come_with_probabilities_the_best_first(live: Live) -> None:
    [sample] = live.post("/v1/classify?top=1000", encoded(noise())).json()["samples"]
    probabilities = [label["probability"] for label in sample["labels"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert {label["label"] for label in sample["labels"]} == set(map(str, range(1000)))
    [few] = live.post("/v1/classify", encoded(noise())).json()["samples"]
    assert few["labels"] == sample["labels"][:5]


@pytest.mark.parametrize(
    ("path", "body", "kind", "expected"),
    [
        pytest.param("/v1/embed", b"", "image/png", (400, "unreadable"), id="empty"),
        pytest.param("/v1/embed", b"\0" * 5000, "image/jpeg", (400, "not_video"), id="garbage"),
        pytest.param("/v1/embed", encoded(noise())[:900], "image/png", (400, "corrupt"), id="cut picture"),
        pytest.param("/v1/embed", b"hello", "text/plain", (415, "unsupported_type"), id="text"),
        pytest.param("/v1/embed", b"hello", "", (400, "not_video"), id="no type, and no video either"),
        pytest.param("/v1/embed", b"<svg/>", "image/svg+xml", (415, "unsupported_type"), id="a drawing"),
        pytest.param("/v1/embed?sample=fps:0", b"x", "video/mp4", (400, "bad_request"), id="bad rule"),
        pytest.param("/v1/classify?top=0", b"x", "image/png", (400, "bad_request"), id="bad top"),
        pytest.param("/v1/embed", b"x", "multipart/form-data", (400, "bad_request"), id="form without boundary"),
        pytest.param(
            "/v1/embed", b"--x\r\n\r\n", "multipart/form-data; boundary=x", (400, "bad_request"), id="bad form"
        ),
        pytest.param("/nothing", b"x", "image/png", (404, "not_found"), id="no such route"),
        pytest.param("/v1/models", b"x", "image/png", (405, "method_not_allowed"), id="wrong method"),
    ],
)
def test_mistake_is_answered_with_its_code(
    live: Live, path: str, body: bytes, kind: str, expected: tuple[int, str]
) -> None:
    assert refused(live.post(path, body, kind)) == expected
    assert live.get("/readyz").status_code == 200


def test_form_without_a_file_is_told_so(live: Live) -> None:
    of_another_name = httpx.post(f"{live.url}/v1/embed", files={"picture": ("a", b"x")}, timeout=PATIENCE_S)
    of_text = httpx.post(f"{live.url}/v1/embed", data={"file": "x"}, files={"other": b""}, timeout=PATIENCE_S)
    assert refused(of_another_name) == refused(of_text) == (400, "bad_request")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("ffconcat version 1.0\nfile '{path}'\n", id="concat"),
        pytest.param("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n", id="playlist"),
    ],
)
def test_script_sent_as_a_video_opens_nothing(live: Live, clips: ClipFactory, script: str) -> None:
    body = script.format(path=clips()).encode()
    for kind in ("video/mp4", "video/x-matroska"):
        assert refused(live.post("/v1/embed", body, kind)) == (400, "not_video")


def test_limits_each_have_their_error(strict: Live, clips: ClipFactory) -> None:
    embed = "/v1/embed"
    assert refused(strict.post(embed, bytes(200_001), "video/mp4")) == (413, "body_too_large")
    assert refused(strict.post(embed, encoded(np.zeros((400, 400, 3), np.uint8)))) == (413, "too_large")
    large = clips(width=480, height=320, num_frames=2).read_bytes()
    assert refused(strict.post(embed, large, "video/mp4")) == (413, "too_large")
    assert refused(strict.post(embed, clips(num_frames=100).read_bytes(), "video/mp4")) == (413, "too_long")
    assert refused(strict.post(f"{embed}?sample=all", clips(num_frames=20).read_bytes(), "video/mp4")) == (
        413,
        "too_long",
    )
    assert refused(strict.post(f"{embed}?sample=all", clips().read_bytes(), "video/mp4")) == (413, "too_long")
    assert len(features(strict.post(embed, clips().read_bytes(), "video/mp4"))) == 2


def test_body_of_no_declared_length_is_stopped_at_the_limit(strict: Live) -> None:
    chunks = (bytes(50_000) for _ in range(5))
    answer = httpx.post(
        f"{strict.url}/v1/embed", content=chunks, headers={"content-type": "video/mp4"}, timeout=PATIENCE_S
    )
    assert refused(answer) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param("200001", (413, "body_too_large"), id="one byte too many"),
        pytest.param("9" * 30, (413, "body_too_large"), id="more digits than any file has bytes"),
        pytest.param("1e3", (400, "bad_request"), id="no number"),
        pytest.param("-1", (400, "bad_request"), id="negative"),
    ],
)
def test_declared_length_is_held_against_the_limit(declared: str, expected: tuple[int, str]) -> None:
    with pytest.raises(Problem) as raised:
        BodyLimit(200_000).check_declared(Headers({"content-length": declared}))
    assert (status_of(raised.value), code_of(raised.value)) == expected


@pytest.mark.parametrize("declared", ["0", "200000", "000200000", f"{'0' * 40}7"])
def test_body_up_to_the_limit_may_be_declared(declared: str) -> None:
    BodyLimit(200_000).check_declared(Headers({"content-length": declared}))


def test_key_is_asked_for_before_the_length() -> None:
    with serving(access=Access(), keys=(KEY,), limits=SMALL) as guarded:
        long = bytes(SMALL.max_body_bytes + 1)
        assert refused(guarded.post("/v1/embed", long)) == (401, "unauthorized")
        assert refused(guarded.post("/v1/embed", long, authorization=f"Bearer {KEY}")) == (413, "body_too_large")


def test_slow_request_is_ended(clips: ClipFactory) -> None:
    with serving(limits=Limits(max_seconds=0.05, decoders=1)) as slow:
        answer = slow.post("/v1/embed?sample=all", clips(num_frames=250).read_bytes(), "video/mp4")
        assert refused(answer) == (504, "timeout")
        assert slow.get("/readyz").status_code == 200


def test_full_server_says_when_to_come_back(live: Live) -> None:
    with serving(limits=Limits(queue=1, decoders=1)) as full, full.service.admission.request():
        answer = full.post("/v1/embed", encoded(noise()))
        assert refused(answer) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert full.post("/score", encoded(noise())).status_code == 503


def test_draining_server_is_unready_and_takes_nothing() -> None:
    with serving() as leaving:
        leaving.service.admission.draining.set()
        assert leaving.get("/healthz").status_code == 200
        assert leaving.get("/readyz").status_code == 503
        assert refused(leaving.post("/v1/embed", encoded(noise()))) == (503, "busy")


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/models", "/v2", "/v2/models/video_cnn", "/docs", "/nothing"]
)
def test_head_is_get_without_the_body(live: Live, path: str) -> None:
    head, get = httpx.head(f"{live.url}{path}", timeout=PATIENCE_S), live.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


def test_head_of_what_only_takes_posts_is_refused(live: Live) -> None:
    answer = httpx.head(f"{live.url}/v1/embed", timeout=PATIENCE_S)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_keys_are_asked_for_before_a_body_is_read() -> None:
    with serving(access=Access(), keys=(KEY,)) as guarded:
        for path in (
            "/v1/embed",
            "/v1/classify",
            "/score",
            "/v2/models/video_cnn/infer",
            "/docs",
            "/openapi.json",
            "/v2",
        ):
            answer = guarded.post(path, encoded(noise()))
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert guarded.post(path, b"", authorization="Bearer nope").status_code == 401
        assert guarded.get("/readyz").status_code == 200
        assert guarded.post("/v1/embed", encoded(noise()), authorization=f"Bearer {KEY}").status_code == 200


def test_request_has_a_name_and_a_line_in_the_log_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with serving(access=Access(), keys=(KEY,)) as guarded, caplog.at_level("INFO", logger="ray.serve"):
        answer = guarded.post("/v1/embed?sample=fps:2", encoded(noise()), authorization=f"Bearer {KEY}")
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    [line] = [record for record in caplog.records if record.getMessage() == "request"]
    facts = vars(line)
    assert facts["request_id"] == answer.headers["x-request-id"]
    assert (facts["endpoint"], facts["status"], facts["method"]) == ("/v1/embed", 200, "POST")
    assert facts["bytes_in"] == len(encoded(noise()))
    assert KEY not in str(facts)
    assert "fps:2" not in str(facts)


def test_openapi_describes_the_bodies_and_docs_need_no_other_server(live: Live) -> None:
    document = live.get("/openapi.json").json()
    body = document["paths"]["/v1/embed"]["post"]["requestBody"]["content"]
    assert {"image/png", "video/*", "multipart/form-data"} <= body.keys()
    page = live.get("/docs").text
    assert "//" not in re.sub(r"<!--.*?-->", "", " ".join(re.findall(r'(?:src|href)="([^"]*)"', page)))
    [script] = re.findall(r'src="([^"]*\.js)"', page)
    assert live.get(script).status_code == 200


def test_what_is_posted_leaves_no_file_behind(
    live: Live, clips: ClipFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the server runs here; decoders open no file
    body = clips(num_frames=250, width=640, height=480, options={"crf": "10"}).read_bytes()
    assert len(body) > 1 << 20
    assert len(features(live.post("/v1/embed", body, "video/mp4"))) == 10
    assert list(tmp_path.iterdir()) == []
