"""Pages of other origins: those that the operator named get preflights and answers, all others nothing."""

from collections.abc import Iterator

import httpx
import pytest
from patience import PATIENCE_S
from pydantic import ValidationError
from serving import KEY, Live, encoded, noise, serving

from serve.settings import Access

PAGE = "https://console.example"


@pytest.fixture(scope="module")
def open_to_page() -> Iterator[Live]:
    with serving(access=Access(allowed_origins=("https://Console.example/",)), keys=(KEY,)) as running:
        yield running


def preflight(live: Live, path: str, *, origin: str, method: str = "POST", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.options(
        f"{live.url}{path}",
        headers={"origin": origin, "access-control-request-method": method, **sent},
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    "path", ["/v1/embed", "/v1/classify", "/score", "/v2/models/video_cnn/infer", "/v1/models", "/healthz"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_preflight_of_an_allowed_page_is_answered_without_a_key(open_to_page: Live, path: str, method: str) -> None:
    headers = "authorization, content-type, x-request-id, inference-header-content-length"
    answer = preflight(open_to_page, path, origin=PAGE, method=method, access_control_request_headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in answer.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert set(headers.split(", ")) <= allowed
    assert "access-control-allow-credentials" not in answer.headers


def test_preflight_to_a_server_on_the_pages_own_machine_is_answered(open_to_page: Live) -> None:
    answer = preflight(open_to_page, "/v1/embed", origin=PAGE, access_control_request_private_network="true")
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("status", [200, 400, 401])
def test_allowed_page_may_read_answers_and_errors(open_to_page: Live, status: int) -> None:
    key = {} if status == 401 else {"authorization": f"Bearer {KEY}"}
    body = encoded(noise()) if status == 200 else b"no picture"
    answer = open_to_page.post("/v1/embed", body, origin=PAGE, **key)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "origin" in answer.headers["vary"].lower()
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert {"x-request-id", "retry-after"} <= set(exposed.split(", "))


@pytest.mark.parametrize("origin", ["https://evil.example", "http://console.example", f"{PAGE}:444", "null"])
def test_other_pages_get_neither_preflight_nor_answer(open_to_page: Live, origin: str) -> None:
    refusals = (
        preflight(open_to_page, "/v1/embed", origin=origin),
        open_to_page.post("/v1/embed", encoded(noise()), origin=origin, authorization=f"Bearer {KEY}"),
    )
    assert [answer.status_code for answer in refusals] == [400, 403]
    assert all("access-control-allow-origin" not in answer.headers for answer in refusals)


def test_without_the_option_no_page_but_the_servers_own_may_ask() -> None:
    with serving() as closed:
        assert "access-control-allow-origin" not in preflight(closed, "/v1/embed", origin=PAGE).headers
        own = closed.post("/v1/embed", encoded(noise()), origin=closed.url)
        assert own.status_code == 200
        assert "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize("origin", ["*", "null", "console.example", "https://*.example", "https://a.example/path", ""])
def test_what_is_no_origin_is_refused_with_what_to_write(origin: str) -> None:
    with pytest.raises(ValidationError, match="SCHEME://HOST"):
        Access(allowed_origins=(origin,))
