"""Who may ask: decided from the headers alone."""

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from pipeline.errors import UsageError
from serve.problems import Forbidden, Unauthorized, UnsupportedType
from serve.settings import Access
from serve.web.security import ADMIN_KEYS_VARIABLE, KEYS_VARIABLE, ApiKeys, Guard, answered_subprotocol

KEY, OTHER = "first-key-of-some-length", "second-key-of-some-length"
LOOPBACK = Access(is_loopback=True)


def guard(access: Access = LOOPBACK, *, keys: tuple[str, ...] = ()) -> Guard:
    return Guard(access, ApiKeys(keys))


def check(rules: Guard, *subprotocols: str, path: str = "/v1/embed", **headers: str) -> None:
    sent = {"host": "127.0.0.1:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    rules.check(path, Headers(sent), subprotocols)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_loopback_answers_its_own_names(host: str) -> None:
    check(guard(), host=host)


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]:1"])
def test_loopback_without_keys_answers_no_other_name(host: str) -> None:
    with pytest.raises(Forbidden):
        check(guard(), host=host)


def test_with_keys_any_name_is_answered_unless_some_are_named() -> None:
    check(guard(Access(), keys=(KEY,)), host="lake.example", authorization=f"Bearer {KEY}")
    named = Access(allowed_hosts=("lake.example",))
    check(guard(named, keys=(KEY,)), host="lake.example:443", authorization=f"Bearer {KEY}")
    with pytest.raises(Forbidden):
        check(guard(named, keys=(KEY,)), host="other.example", authorization=f"Bearer {KEY}")


def test_web_page_of_another_origin_may_not_ask() -> None:
    check(guard(), origin="http://127.0.0.1:8000")
    check(
        guard(Access(is_loopback=True, allowed_origins=("https://Console.example/",))), origin="https://console.example"
    )
    for origin in ("https://evil.example", "http://127.0.0.1:9000", "null"):
        with pytest.raises(Forbidden):
            check(guard(), origin=origin)


@pytest.mark.parametrize("authorization", [f"Bearer {KEY}", f"bearer {OTHER}", f"Bearer  {KEY} "])
def test_each_of_several_keys_is_known(authorization: str) -> None:
    check(guard(keys=(KEY, OTHER)), authorization=authorization)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer nope", f"Basic {KEY}", f"Bearer {KEY}x", KEY]
)
def test_no_key_or_a_wrong_one_is_refused(authorization: str) -> None:
    with pytest.raises(Unauthorized):
        check(guard(keys=(KEY,)), authorization=authorization)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_key(path: str) -> None:
    check(guard(keys=(KEY,)), path=path, host="10.0.0.7:8000")


def test_browsers_sockets_bring_the_key_as_a_subprotocol() -> None:
    check(guard(keys=(KEY,)), "vidlake", f"vidlake.key.{KEY}")
    with pytest.raises(Unauthorized):
        check(guard(keys=(KEY,)), "vidlake.key.nope")
    assert answered_subprotocol(["vidlake", f"vidlake.key.{KEY}"]) == "vidlake"
    assert answered_subprotocol([f"vidlake.key.{KEY}"]) == f"vidlake.key.{KEY}"
    assert answered_subprotocol([]) is None


def test_compressed_bodies_are_not_taken() -> None:
    check(guard(), content_encoding="identity")
    with pytest.raises(UnsupportedType):
        check(guard(), content_encoding="gzip")


def test_keys_come_from_the_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    third = "third-key-of-some-length"
    monkeypatch.setenv(KEYS_VARIABLE, f"{KEY}, {OTHER}")
    file = tmp_path / "keys"
    file.write_text(f"# who: the console\n{third}\n\n")
    keys = ApiKeys.read(Access(api_keys_file=str(file)))
    assert all(keys.know(key) for key in (KEY, OTHER, third))
    assert not keys.know("fourth-key-of-some-length")
    assert KEY not in repr(vars(keys))


def test_admin_key_is_an_api_key_too_and_not_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = "third-key-of-some-length"
    monkeypatch.setenv(ADMIN_KEYS_VARIABLE, OTHER)
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    file = tmp_path / "admins"
    file.write_text(third)
    admins = ApiKeys.read(Access(admin_keys_file=str(file)))
    assert admins, "they are enough beyond the loopback address"
    assert all(admins.know(key) and admins.know_admin(key) for key in (OTHER, third))
    rules = Guard(LOOPBACK, ApiKeys([KEY], admin_keys=[OTHER]))
    check(rules, authorization=f"Bearer {OTHER}")
    rules.require_admin(Headers({"authorization": f"Bearer {OTHER}"}))
    with pytest.raises(Forbidden):
        rules.require_admin(Headers({"authorization": f"Bearer {KEY}"}))
    with pytest.raises(Unauthorized):
        rules.require_admin(Headers({}))


@pytest.mark.parametrize(
    ("access", "advice"),
    [
        pytest.param(Access(), "--insecure", id="none beyond loopback"),
        pytest.param(Access(api_keys_file="/none"), "cannot be read", id="no such file"),
    ],
)
def test_missing_keys_are_refused_with_what_to_do(access: Access, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    with pytest.raises(UsageError, match=advice):
        ApiKeys.read(access)


def test_short_keys_are_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, "hunter2")
    with pytest.raises(UsageError, match="shorter") as raised:
        ApiKeys.read(LOOPBACK)
    assert "hunter2" not in str(raised.value)
