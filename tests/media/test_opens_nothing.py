"""Promise 8: a video opens no other file and no address, whatever its content says."""

import io
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from media import plan
from videos import video_bytes, written

from pipeline.errors import InputError
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Sizing, TimeRange
from pipeline.storage.schemes import open_reader


class Trap(ThreadingHTTPServer):
    """A server that notes who asked for what."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), TrapHandler)
        self.asked: list[str] = []


class TrapHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Trap)
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def trap() -> Iterator[Trap]:
    server = Trap()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


BAITS = {
    "concat": "ffconcat version 1.0\nfile '{path}'\n",
    "concat-protocol": "ffconcat version 1.0\nfile 'concat:{path}|{path}'\n",
    "concat-http": "ffconcat version 1.0\nfile '{url}'\n",
    "hls-file": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "hls-http": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\n{url}\n#EXT-X-ENDLIST\n",
    "hls-key": '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:4,\n{path}\n',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" mimeType="video/mp4" bandwidth="9"><BaseURL>{url}</BaseURL><SegmentBase/>'
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "rtsp-ram": "rtsp://127.0.0.1:{port}/x\n",
    "real-media-ram": "{url}\n",
    "asx": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
    "smil": '<smil><body><video src="{url}"/></body></smil>',
    "pattern": "{path}%03d.png",
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>urn:uuid:1</Id></CompositionPlaylist>",
    "avisynth": 'AviSource("{path}")\n',
    "vapoursynth": "import vapoursynth as vs\nvs.core.ffms2.Source('{path}').set_output()\n",
    "vobsub": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
}


@pytest.mark.parametrize("bait", BAITS)
@pytest.mark.parametrize("ending", ["mp4", "m3u8", "mpd"])
def test_no_video_opens_another_file(bait: str, ending: str, trap: Trap, tmp_path: Path) -> None:
    inner = written(tmp_path, "inner.mp4", video_bytes(num_frames=5))
    port = trap.server_address[1]
    text = BAITS[bait].format(path=inner, url=f"http://127.0.0.1:{port}/seg.ts", port=port)
    path = written(tmp_path, f"bait.{ending}", text.encode())
    with open_reader(path) as reader, pytest.raises(InputError) as caught:
        plan(reader.read_at(0, 10**6))
    assert caught.value.reason in ("not_video", "no_video_stream")
    assert trap.asked == []


def test_external_media_of_an_mp4_is_not_opened(trap: Trap, tmp_path: Path) -> None:
    inner = written(tmp_path, "inner.mp4", video_bytes(num_frames=5))
    own = b"url " + struct.pack(">I", 1)
    data = video_bytes(num_frames=30)
    assert struct.pack(">I", 12) + own in data
    location = (inner + "\0").encode()
    # An address in place of "the media is in this file"; the boxes around it grow.
    foreign = struct.pack(">I", 12 + len(location)) + b"url " + struct.pack(">I", 0) + location
    changed = bytearray(data.replace(struct.pack(">I", 12) + own, foreign))
    growth = len(foreign) - 12
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = changed.index(box) - 4
        changed[at : at + 4] = struct.pack(">I", struct.unpack(">I", changed[at : at + 4])[0] + growth)
    with Sandbox(DecodeLimits()) as sandbox, open_reader(written(tmp_path, "outer.mp4", bytes(changed))) as reader:
        job = Job(uri="outer.mp4", rule=parse_rule("all"), time_range=TimeRange())
        planned = sandbox.plan(reader, job, sizing=Sizing())
        events = list(sandbox.decode(reader, job, facts=planned.facts, segments=planned.segments))
    assert len(events) == 31  # its own 30 pictures and the segment's end: the reference was not followed


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_still_picture_is_not_a_video(form: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    pillow.new("RGB", (200, 100), (9, 99, 200)).save(file, form)
    with pytest.raises(InputError) as caught:
        plan(file.getvalue())
    assert caught.value.reason == "not_video"


def test_gif_is_a_video() -> None:
    assert plan(video_bytes("gif", {}, kind="gif", pix_fmt="rgb8", num_frames=10)).facts.codec == "gif"
