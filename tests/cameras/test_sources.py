"""Addresses of sources: what is read from them, what is allowed, and what is shown."""

import pickle
from pathlib import Path

import pytest

from pipeline.cameras.pulling.source import AllowedSources, Credentials, Source, SourceRefused, has_password
from pipeline.errors import UsageError

SECRET = "pw-3f60-never-to-be-seen"
ALLOWED = AllowedSources.parse(
    ["http://127.0.0.1:8000", "rtsp://cam.example:*", "https://cdn.example", "rtsp://[::1]:9"]
)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/x.m3u8?token=1",
        "HTTP://127.0.0.1:8000",
        "rtsp://cam.example/stream",
        "rtsp://CAM.example.:9999/stream",
        f"rtsp://viewer:{SECRET}@cam.example/stream",
        "https://cdn.example:443/a",
        "rtsp://[::1]:9/cam",
    ],
)
def test_what_a_pattern_names_is_allowed(text: str) -> None:
    source = Source.parse(text, allowed=ALLOWED)
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("http://127.0.0.1:8001/", id="another-port"),
        pytest.param("https://127.0.0.1:8000/", id="another-scheme"),
        pytest.param("http://127.0.0.1:8000@127.0.0.1:8001/", id="user-that-looks-like-a-host"),
        pytest.param("http://localhost:8000/", id="name-for-a-number"),
        pytest.param("http://[::ffff:127.0.0.1]:8000/", id="mapped-to-ipv6"),
        pytest.param("http://2130706433:8000/", id="number-of-one-part"),
        pytest.param("http://0x7f.1:8000/", id="number-in-hex"),
        pytest.param("rtsp://cam.example.evil.example/", id="longer-name"),
        pytest.param("rtsps://cam.example/", id="with-tls"),
        pytest.param("http://cdn.example/", id="without-tls"),
        pytest.param("file:/etc/passwd", id="file"),
        pytest.param("FILE:///etc/passwd", id="file-in-capitals"),
        *[pytest.param(f"{kind}:x", id=kind) for kind in ("concat", "tcp", "device", "rtmp", "udp", "data", "mqtt")],
    ],
)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(SourceRefused):
        Source.parse(text, allowed=ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        *["cam.mp4", "", "http:/x", "http://", "http://host:0/", "http://host:99999/", "file:", "file://other/x"],
        *["http://ho st/", "http://host/a b", "http://host\\@x/", "http://host/\r\nHost: x", "http://h@o@st:1:2/"],
    ],
)
def test_what_is_no_address_is_told_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match=r"bad source|not pulled") as caught:
        Source.parse(text, allowed=ALLOWED.with_own("file:x"))
    assert len(text) < 8 or text not in str(caught.value)


def test_nothing_is_allowed_by_itself() -> None:
    with pytest.raises(SourceRefused, match="--allow-source rtsp://cam:554 would allow it"):
        Source.parse("rtsp://cam/", allowed=AllowedSources())


def test_what_an_operator_names_is_allowed_to_itself_alone() -> None:
    own = AllowedSources().with_own("http://cam/x.m3u8")
    assert Source.parse("http://cam:80/y", allowed=own).uri == "http://cam/y"
    for text in ("http://cam:81/", "https://cam/", "file:/x"):
        with pytest.raises(SourceRefused):
            Source.parse(text, allowed=own)


@pytest.mark.parametrize(
    "pattern", ["cam", "rtsp://", "ftp://cam:1", "rtsp://*:554", "rtsp://cam:0", "rtsp://cam:x", "rtsp://cam/path"]
)
def test_a_bad_pattern_is_told(pattern: str) -> None:
    with pytest.raises(UsageError, match="bad --allow-source"):
        AllowedSources.parse([pattern])


def test_secrets_show_nowhere() -> None:
    source = Source.parse(f"rtsp://v%40:{SECRET}%2F@cam.example:99/a?token={SECRET}#x", allowed=ALLOWED)

    assert source.uri == "rtsp://cam.example:99/a"
    assert SECRET not in repr(source)
    assert SECRET not in repr(source.credentials)
    assert source.target == f"/a?token={SECRET}"
    assert source.credentials == Credentials(user="v@", password=f"{SECRET}/")


def test_credentials_that_are_given_win() -> None:
    given = Credentials(user="a", password="b")
    assert Source.parse("rtsp://x:y@cam.example/", allowed=ALLOWED, credentials=given).credentials == given
    assert Source.parse("rtsp://cam.example/", allowed=ALLOWED).credentials is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://u:p@cam/", True),
        ("rtsp://u@cam/", False),
        ("rtsp://cam/a:b@c", False),
        ("file:/a:b@c", False),
        ("http://u:@cam/", True),
    ],
)
def test_a_password_in_an_address_is_noticed(text: str, expected: bool) -> None:
    assert has_password(text) is expected


def test_a_file_is_its_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    allowed = AllowedSources(are_files_allowed=True)
    assert Source.parse("file:clip.mp4", allowed=allowed).uri == str(tmp_path / "clip.mp4")
    assert Source.parse("file:///a%20b/c.mp4", allowed=allowed).uri == "/a b/c.mp4"
