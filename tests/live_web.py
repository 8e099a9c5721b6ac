"""Web servers of streams for tests: HLS, MPEG-TS, motion JPEG, and those that lead elsewhere."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image
from videos import X264, pixels, remuxed, video_bytes

SEGMENT_FRAMES = 25


@dataclass(frozen=True, slots=True)
class Reply:
    """What a path is answered with; a body that is an iterator is sent as it comes, without a length."""

    body: bytes | Iterator[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class StreamServer(ThreadingHTTPServer):
    """Answers paths by a function; it remembers the requests and counts the connections."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str, dict[str, str]], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.paths: list[str] = []
        self.headers_seen: list[dict[str, str]] = []
        self.connections = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "StreamServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def process_request(self, *arguments: object) -> None:
        self.connections += 1
        super().process_request(*arguments)  # type: ignore[arg-type]

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StreamServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.headers_seen.append(dict(self.headers))
        reply = self.server.answer(self.path, dict(self.headers))
        body, status, headers = reply.body, reply.status, dict(reply.headers)
        if isinstance(body, bytes):
            wanted = self.headers.get("Range")
            if wanted is not None and status == 200:
                first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
                body, status = body[first : last + 1], 206
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
            self.close_connection = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for chunk in [body] if isinstance(body, bytes) else body:
                self.wfile.write(chunk)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def ts_segments(
    num: int, *, size: tuple[int, int] = (96, 64), first_picture: int = 0, begins_s: int = 1
) -> list[bytes]:
    """MPEG-TS segments of a second each, whose clock goes on and begins at ``begins_s``, which is at least one."""
    mp4 = video_bytes(
        options=X264 | {"g": str(SEGMENT_FRAMES), "bf": "2"},
        num_frames=num * SEGMENT_FRAMES,
        size=size,
        first_picture=first_picture,
    )
    muxer = {"mpegts_flags": "+initial_discontinuity"}
    return [_cut(mp4, index, kind="mpegts", muxer=muxer, begins_s=begins_s) for index in range(num)]


def mp4_fragments(num: int) -> tuple[bytes, list[bytes]]:
    """The map and the segments of fragmented MP4."""
    mp4 = video_bytes(
        options=X264 | {"g": str(SEGMENT_FRAMES), "bf": "0"},
        num_frames=num * SEGMENT_FRAMES,
        muxer={"movflags": "empty_moov+frag_keyframe+default_base_moof"},
    )
    starts, at = [], 0
    while at < len(mp4):
        if mp4[at + 4 : at + 8] == b"moof":
            starts.append(at)
        at += int.from_bytes(mp4[at : at + 4], "big")
    ends = [*starts[1:], len(mp4)]
    return mp4[: starts[0]], [mp4[start:end] for start, end in zip(starts, ends, strict=True)]


def _cut(mp4: bytes, index: int, *, kind: str, muxer: dict[str, str], begins_s: int) -> bytes:
    first = index * SEGMENT_FRAMES
    inside = range(first, first + SEGMENT_FRAMES)
    # No pts below zero: the muxer would shift the first segment alone.
    return remuxed(mp4, kind=kind, muxer=muxer, keep=lambda place: place in inside, shift=begins_s * 12_800)


def playlist(*lines: str, first: int = 0, is_complete: bool = True, version: int = 7) -> Reply:
    """A media playlist; lines that are no tags are segments of a second."""
    body = []
    for line in lines:
        body += [line] if line.startswith("#") else ["#EXTINF:1.0,", line]
    head = ["#EXTM3U", f"#EXT-X-VERSION:{version}", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    end = ["#EXT-X-ENDLIST"] if is_complete else []
    text = "\n".join([*head, *body, *end, ""])
    return Reply(text.encode(), headers={"Content-Type": "application/vnd.apple.mpegurl"})


def jpeg(index: int, *, size: tuple[int, int] = (96, 64)) -> bytes:
    """One picture of a motion JPEG camera."""
    file = io.BytesIO()
    Image.fromarray(pixels(index, width=size[0], height=size[1])).save(file, "JPEG", quality=90)
    return file.getvalue()


def motion_jpeg(num: int, *, rate_hz: Fraction, with_length: bool) -> Reply:
    """Pictures in a multipart body, at the camera's own pace."""

    def parts() -> Iterator[bytes]:
        for index in range(num):
            picture = jpeg(index)
            length = f"Content-Length: {len(picture)}\r\n" if with_length else ""
            yield f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + picture + b"\r\n"
            time.sleep(float(1 / rate_hz))
        yield b"--frame--\r\n"

    return Reply(parts(), headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
