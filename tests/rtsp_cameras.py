"""RTSP cameras for tests: one of ours that plays a script, and a real one on GStreamer where it is installed."""

import base64
import contextlib
import hashlib
import io
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
REAL_CAMERA = ROOT.parent / "shared" / "accept" / "rtsp_camera.py"
SYSTEM_PYTHON = "/usr/bin/python3"
_MOST_PAYLOAD_BYTES = 1400
_CLOCK_HZ = 90_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One access unit of H.264, and when it is sent; ``rtp_time`` in ticks of 90 kHz."""

    units: tuple[bytes, ...]
    rtp_time: int
    after_s: float = 0.0
    """Waited before it is sent."""
    pause_in_middle_s: float = 0.0
    """Waited when half of it was sent."""


def access_units(mp4: bytes) -> list[tuple[tuple[bytes, ...], int, bool]]:
    """The access units of an H.264 MP4: their NAL units (parameter sets before keyframes), pts, keyframe."""
    found = []
    with av.open(io.BytesIO(mp4), "r") as container:
        stream = container.streams.video[0]
        sets = _sets_of(bytes(stream.codec_context.extradata or b""))
        for packet in container.demux(stream):
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            data, units, at = bytes(packet), [], 0
            while at < len(data):
                length = int.from_bytes(data[at : at + 4], "big")
                units.append(data[at + 4 : at + 4 + length])
                at += 4 + length
            ticks = round(packet.pts * packet.time_base * _CLOCK_HZ)
            found.append((tuple((sets if packet.is_keyframe else []) + units), ticks, packet.is_keyframe))
    return found


def _sets_of(avcc: bytes) -> list[bytes]:
    """The parameter sets in the header of an MP4's track."""
    found, at = [], 5
    for mask in (0x1F, 0xFF):
        count, at = avcc[at] & mask, at + 1
        for _ in range(count):
            length = int.from_bytes(avcc[at : at + 2], "big")
            found.append(avcc[at + 2 : at + 2 + length])
            at += 2 + length
    return found


def script_of(mp4: bytes, *, pace_s: float = 0.04, first_rtp_time: int = 0) -> list[Sent]:
    """An MP4's access units, one every ``pace_s``."""
    return [Sent(units=units, rtp_time=first_rtp_time + ticks, after_s=pace_s) for units, ticks, _ in access_units(mp4)]


@dataclass
class ScriptedCamera:
    """An RTSP server that sends a script to whoever plays it, interleaved in its TCP connection, and then ends as told.

    It writes down what it was asked for.
    """

    script: Callable[[], Iterable[Sent]]
    at_end: str = "hang_up"
    """``hang_up`` or ``stay``."""
    with_sets_in_sdp: bool = True
    login: tuple[str, str] | None = None
    scheme: str = "Digest"
    qop: bool = True
    answer_first: Callable[[str, str], bytes | None] = lambda method, sequence: None
    """Answers a request in another way than a camera does."""
    named_authority: str | None = None
    """By which it speaks of itself; otherwise by its address."""
    tls: ssl.SSLContext | None = None
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> "ScriptedCamera":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    @property
    def url(self) -> str:
        return f"{'rtsps' if self.tls else 'rtsp'}://127.0.0.1:{self.port}/cam"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._clients.append(client)
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as ours, contextlib.suppress(OSError):
            client = ours.enter_context(client if self.tls is None else self.tls.wrap_socket(client, server_side=True))
            received = b""
            while data := client.recv(65536):
                received += data
                while b"\r\n\r\n" in received and not received.startswith(b"$"):
                    head, _, received = received.partition(b"\r\n\r\n")
                    self._answer(client, head.decode())
                received = b"" if received.startswith(b"$") else received

    def _answer(self, client: socket.socket, head: str) -> None:
        self.requests.append(head)
        method, url, _ = head.split("\r\n", maxsplit=1)[0].split(" ")
        sequence = re.search(r"CSeq:\s*(\d+)", head, re.IGNORECASE)
        number = sequence[1] if sequence else "0"
        odd = self.answer_first(method, number)
        if odd is not None:
            client.sendall(odd)
            return
        if self.login is not None and not self._is_let_in(head, method):
            client.sendall(f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n{self._challenge()}\r\n\r\n".encode())
            return
        headers, body = self._headers_of(method, url)
        lines = ["RTSP/1.0 200 OK", f"CSeq: {number}", *headers, f"Content-Length: {len(body)}", "", body]
        client.sendall("\r\n".join(lines).encode())
        if method == "PLAY":
            thread = threading.Thread(target=self._play, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _headers_of(self, method: str, url: str) -> tuple[list[str], str]:
        if method == "OPTIONS":
            return ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"], ""
        if method == "DESCRIBE":
            own = f"rtsp://{self.named_authority or f'127.0.0.1:{self.port}'}/cam/"
            return [f"Content-Base: {own}", "Content-Type: application/sdp"], self._sdp(own)
        if method == "SETUP":
            return ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 12345678"], ""
        return ["Session: 12345678"], ""

    def _sdp(self, own: str) -> str:
        sets = next((sent.units[:2] for sent in self.script() if len(sent.units) > 2), ())
        sprop = ",".join(base64.b64encode(unit).decode() for unit in sets)
        given = f";sprop-parameter-sets={sprop}" if self.with_sets_in_sdp else ""
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1{given}\r\na=control:{own}stream=0\r\n"
        )

    def _challenge(self) -> str:
        if self.scheme == "Basic":
            return 'WWW-Authenticate: Basic realm="cam"'
        qop = ', qop="auth"' if self.qop else ""
        return f'WWW-Authenticate: Digest realm="cam", nonce="0123456789abcdef"{qop}, algorithm=MD5'

    def _is_let_in(self, head: str, method: str) -> bool:
        given = re.search(r"Authorization:\s*(\w+)\s+(.*)", head)
        if given is None or self.login is None:
            return False
        user, password = self.login
        if self.scheme == "Basic":
            return base64.b64decode(given[2]).decode() == f"{user}:{password}"
        said = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', given[2])}
        secret = _md5(f"{user}:cam:{password}")
        request = _md5(f"{method}:{said['uri']}")
        middle = f"{said['nonce']}:{said['nc']}:{said['cnonce']}:auth" if self.qop else said["nonce"]
        return bool(said["response"] == _md5(f"{secret}:{middle}:{request}") and said["uri"] == head.split(" ")[1])

    def _play(self, client: socket.socket) -> None:
        sequence = 1
        with contextlib.suppress(OSError):
            for sent in self.script():
                if self._is_over.wait(sent.after_s):
                    return
                packets = b""
                payloads = list(_payloads(sent.units))
                for place, payload in enumerate(payloads):
                    is_last = place == len(payloads) - 1
                    header = bytes([0x80, 96 | (0x80 if is_last else 0)])
                    header += (sequence & 0xFFFF).to_bytes(2, "big") + (sent.rtp_time % (1 << 32)).to_bytes(4, "big")
                    packet = header + b"\0\0\0\7" + payload
                    packets += b"$\0" + len(packet).to_bytes(2, "big") + packet
                    sequence += 1
                if sent.pause_in_middle_s:
                    client.sendall(packets[: len(packets) // 2])
                    packets = packets[len(packets) // 2 :]
                    if self._is_over.wait(sent.pause_in_middle_s):
                        return
                client.sendall(packets)
            if self.at_end == "hang_up":
                client.shutdown(socket.SHUT_RDWR)


def _payloads(units: Sequence[bytes]) -> Iterator[bytes]:
    """RTP payloads of NAL units: whole, or in fragments (RFC 6184, FU-A)."""
    for unit in units:
        if len(unit) <= _MOST_PAYLOAD_BYTES:
            yield unit
            continue
        indicator, kind, rest = bytes([(unit[0] & 0xE0) | 28]), unit[0] & 0x1F, unit[1:]
        for at in range(0, len(rest), _MOST_PAYLOAD_BYTES):
            is_first, is_last = at == 0, at + _MOST_PAYLOAD_BYTES >= len(rest)
            yield indicator + bytes([kind | is_first << 7 | is_last << 6]) + rest[at : at + _MOST_PAYLOAD_BYTES]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class RealCamera:
    """``rtsp_camera.py`` as a process; it may be killed, stopped and continued."""

    def __init__(self, clip: Path, *words: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [SYSTEM_PYTHON, str(REAL_CAMERA), str(clip), "--port", str(self.port), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self) -> "RealCamera":
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), line
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:  # it says so a little before it listens
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        raise AssertionError("it does not listen")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"


def require_real_camera() -> None:
    """Skip a test where Debian's RTSP server is not installed."""
    if not REAL_CAMERA.exists():
        pytest.skip(f"needs {REAL_CAMERA.name}, which lies beside the project")
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    command = [SYSTEM_PYTHON, "-c", probe]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gst-1.0")
