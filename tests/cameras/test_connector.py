"""What speaks to a source: names are resolved once, TLS ends here, logins are answered, and strangers learn nothing."""

import datetime
import hashlib
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from live_web import Reply, StreamServer, playlist, ts_segments
from pulls import pulled, source_of
from rtsp_cameras import ScriptedCamera, script_of
from videos import video_bytes

from pipeline.cameras.pulling.connector.connecting import Connections
from pipeline.cameras.pulling.connector.logins import Challenge
from pipeline.cameras.pulling.connector.playlists import parsed
from pipeline.cameras.pulling.connector.rtsp_messages import Message, NotRtsp, Packet, Splitter
from pipeline.cameras.pulling.connector.rtsp_relay import Relay
from pipeline.cameras.pulling.connector.task import Login, Task
from pipeline.cameras.pulling.ended import EndReason, SourceFailed
from pipeline.cameras.pulling.source import AllowedSources, Credentials, Origin

LOGIN = Login(user="viewer", password="a b:c")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a camera")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "camera.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, *form)
    path.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("is_trusted", [True, False])
def test_tls_ends_in_the_relay_and_is_checked(
    certificate: Path, is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    clip = video_bytes(num_frames=30)
    with ScriptedCamera(lambda: script_of(clip, pace_s=0.01), tls=context) as camera:
        pull = pulled(camera.url)

    assert len(pull.frames) == (30 if is_trusted else 0)
    assert pull.ended is not None
    if not is_trusted:
        assert pull.ended.reason is EndReason.UNREACHABLE
        assert "TLS" in pull.ended.detail
        assert camera.requests == []


def test_a_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere the second time leads nowhere new."""
    answers = iter(["127.0.0.1", "192.0.2.1"])

    def resolve(host: str, port: object, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        number = next(answers) if host == "cam.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, int(str(port or 0))))]

    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = Origin(scheme="http", host="cam.example", port=server.getsockname()[1])
        connections = Connections(AllowedSources.parse([str(origin)]))
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        for _ in range(2):
            with connections.connect(origin) as connection:
                assert connection.getpeername()[0] == "127.0.0.1"


def test_what_is_not_allowed_is_not_even_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise AssertionError("it was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(SourceFailed) as caught:
        Connections(AllowedSources()).connect(Origin(scheme="http", host="secret.example", port=80))
    assert caught.value.reason is EndReason.REFUSED


class TestLogins:
    @pytest.mark.parametrize(
        ("headers", "scheme"),
        [
            (['Basic realm="x"'], "Basic"),
            (['Basic realm="x"', 'Digest realm="x", nonce="1"'], "Digest"),
            (['digest realm="x", nonce="1", algorithm=SHA-512', 'BASIC realm="x"'], "Basic"),
            (['Digest realm="x", nonce="1", qop="auth-int"'], None),
            (["Bearer"], None),
            ([], None),
        ],
    )
    def test_the_safest_that_is_known_is_answered(self, headers: list[str], scheme: str | None) -> None:
        challenge = Challenge.best_of(headers)
        answer = challenge and challenge.answer(LOGIN, method="GET", uri="/")
        assert (answer.split(" ")[0] if answer else None) == scheme

    def test_sha_256_is_preferred_and_right(self) -> None:
        asked = ['Digest realm="r", nonce="n", qop="auth"']
        asked.append('Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=SHA-256')
        challenge = Challenge.best_of(asked)
        assert challenge is not None
        answer = challenge.answer(LOGIN, method="GET", uri="/x")
        said = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', answer)}

        def hashed(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()

        secret, request = hashed("viewer:r:a b:c"), hashed("GET:/x")
        assert said["response"] == hashed(f"{secret}:n:{said['nc']}:{said['cnonce']}:auth:{request}")
        assert said["algorithm"] == "SHA-256"

    def test_a_digest_login_by_http(self) -> None:
        (segment,) = ts_segments(1)

        def answer(path: str, headers: dict[str, str]) -> Reply:
            said = headers.get("Authorization", "")
            secret = hashlib.md5(b"viewer:cam:a b:c", usedforsecurity=False).hexdigest()
            request = hashlib.md5(f"GET:{path}".encode(), usedforsecurity=False).hexdigest()
            if hashlib.md5(f"{secret}:n:{request}".encode(), usedforsecurity=False).hexdigest() not in said:
                return Reply(b"", 401, {"WWW-Authenticate": 'Digest realm="cam", nonce="n"'})
            return Reply(segment) if path == "/0.ts" else playlist("0.ts")

        with StreamServer(answer) as web:
            credentials = Credentials(user="viewer", password="a b:c")
            pull = pulled(source_of(f"{web.url}/x.m3u8?a=1", credentials=credentials))

        assert len(pull.frames) == 25
        assert web.paths == ["/x.m3u8?a=1", "/x.m3u8?a=1", "/0.ts"], "later requests log in at once"


class TestRtsp:
    STREAM = (
        b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 4\r\n\r\nbody"
        b"$\0\0\3abc"
        b"\r\nOPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n"
        b"$\1\0\0"
    )

    @pytest.mark.parametrize("step", [1, 7, 1000])
    def test_messages_and_packets_are_told_apart_however_they_come(self, step: int) -> None:
        splitter = Splitter()
        found = [each for at in range(0, len(self.STREAM), step) for each in splitter.feed(self.STREAM[at : at + step])]
        answer, packet, request, empty = found
        assert isinstance(answer, Message)
        assert (answer.status, answer.sequence, answer.body) == (200, "3", b"body")
        assert (packet, empty) == (Packet(b"$\0\0\3abc"), Packet(b"$\1\0\0"))
        assert isinstance(request, Message)
        assert (request.method, request.is_answer) == ("OPTIONS", False)

    @pytest.mark.parametrize(
        "data",
        [b"\0\1\2", b"HTTP/1.1 200 OK\r\n\r\n", b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"R" * 99_999],
        ids=["binary", "http", "large-body", "endless-header"],
    )
    def test_anything_else_is_refused(self, data: bytes) -> None:
        with pytest.raises(NotRtsp):
            list(Splitter().feed(data))

    def test_a_stranger_on_this_machine_learns_nothing_of_the_relay(self) -> None:
        with ScriptedCamera(lambda: []) as camera, socket.create_server(("127.0.0.1", 0)) as listener:
            origin = Origin(scheme="rtsp", host="127.0.0.1", port=camera.port)
            task = Task(
                origin=origin,
                target="/cam",
                login=LOGIN,
                patterns=AllowedSources.parse([str(origin)]).patterns,
                relay_tokens=("right", "named"),
            )
            port = listener.getsockname()[1]
            relay = threading.Thread(target=Relay(task, listener).run, daemon=True)
            relay.start()
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(f"DESCRIBE rtsp://127.0.0.1:{port}/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
                assert stranger.recv(100) == b""
            assert camera.requests == []
            with socket.create_connection(("127.0.0.1", port)) as decoder:
                decoder.sendall(f"OPTIONS rtsp://127.0.0.1:{port}/right RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
                assert decoder.recv(100).startswith(b"RTSP/1.0 200 OK")
            relay.join(5)
            assert camera.requests[0].startswith(f"OPTIONS rtsp://127.0.0.1:{camera.port}/cam RTSP/1.0")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda text: text.replace("0.ts", "http://[bad"), "unreadable"),
        (lambda text: "", "unreadable"),
        (lambda text: "#EXTM3U\n", "unreadable"),
        (lambda text: text.replace("#EXTINF:1.0,", "#EXTINF:abc,"), "unreadable"),
        (lambda text: "#EXTM3U\n#EXT-X-STREAM-INF:\n", "unreadable"),
        (lambda text: text.replace("#EXTINF", "#EXT-X-KEY:METHOD=AES-128\n#EXTINF"), "unreadable"),
    ],
    ids=["bad-address", "empty", "no-segments", "no-duration", "no-variant", "key-without-address"],
)
@pytest.mark.quick_one_in(4)
def test_playlists_that_make_no_sense_end_it_in_words(edit: Callable[[str], str], says: str) -> None:
    body = playlist("0.ts").body
    assert isinstance(body, bytes)
    with StreamServer(lambda path, headers: Reply(b"#EXTM3U" + edit(body.decode()).encode()[7:])) as web:
        pull = pulled(f"{web.url}/x.m3u8")

    assert pull.ended is not None
    assert pull.ended.reason.value == says


def test_a_playlist_of_variants_names_the_best() -> None:
    text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=5\na\n#EXT-X-STREAM-INF:BANDWIDTH=50\nhttp://o/b?x\n"
    assert parsed(text, url="http://h/p/m.m3u8") == "http://o/b?x"
