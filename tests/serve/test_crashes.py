"""A decoder's death, and any failure of the server, is told in general words; the log alone has the details."""

from functools import partial
from typing import Any

import pytest
from conftest import ClipFactory
from serving import Live, encoded, noise, serving

from pipeline.media.process.sandbox import Sandbox
from serve.inference import videos
from serve.inference.service import FeatureService
from serve.settings import Limits


@pytest.mark.parametrize(
    ("death", "expected"),
    [
        pytest.param("raise_error", (400, "crashed", "the decoder died over it"), id="a bug, with a traceback"),
        pytest.param("segfault", (400, "crashed", "the decoder died over it"), id="a signal"),
        pytest.param("abort", (400, "crashed", "the decoder died over it"), id="an assertion"),
        pytest.param(
            "balloon_in_python",
            (413, "out_of_memory", "the decoder needed more memory than it may have"),
            id="a memory bomb",
        ),
    ],
)
@pytest.mark.quick_one_in(3)
def test_how_a_decoder_died_is_for_the_log_alone(
    death: str,
    expected: tuple[int, str, str],
    clips: ClipFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(videos, "Sandbox", partial(Sandbox, entry=f"hostile_decoders:{death}"))
    limits = Limits(decoders=1, decode_memory_bytes=200_000_000)
    with caplog.at_level("INFO", logger="ray.serve"), serving(limits=limits) as live:
        answer = live.post("/v1/embed", clips().read_bytes(), "video/mp4")
        assert live.get("/readyz").status_code == 200

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["message"]) == expected
    details = [vars(record)["detail"] for record in caplog.records if "did not decode" in record.getMessage()]
    assert len(details) == 1
    assert details[0] not in answer.text


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/models/video_cnn/infer"])
def test_failure_of_the_server_shows_nothing_of_it(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "/etc/secret at 0x7f"

    async def fail(service: FeatureService, *args: Any, **options: Any) -> Any:
        raise RuntimeError(secret)

    monkeypatch.setattr(FeatureService, "still", fail)
    monkeypatch.setattr(FeatureService, "prepared", fail)
    with serving() as live:
        answer = post_picture(live, path)

    assert answer.status_code == 500
    assert "the server failed over this request" in answer.text
    assert secret not in answer.text


def post_picture(live: Live, path: str) -> Any:
    if path == "/v1/embed":
        return live.post(path, encoded(noise()))
    tensor = {"name": "pixels", "shape": [1, 128, 128, 3], "datatype": "UINT8", "data": [0] * (128 * 128 * 3)}
    return live.post(path, str({"inputs": [tensor]}).replace("'", '"').encode(), "application/json")
