"""Sources by HTTP: HLS in all its forms, MPEG-TS, motion JPEG; and what leads elsewhere leads nowhere."""

import base64
import itertools
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from live_web import Reply, StreamServer, motion_jpeg, mp4_fragments, playlist, ts_segments
from pulls import assert_replays, pulled, source_of
from videos import video_bytes

from pipeline.cameras.pulling.pulled import EndReason

Pages = dict[str, Reply | bytes]
PASSWORD = "pw-71aa-never-to-be-seen"


@pytest.fixture(scope="module")
def segments() -> list[bytes]:
    return ts_segments(3)


def served(pages: Mapping[str, Reply | bytes]) -> StreamServer:
    def answer(path: str, _: dict[str, str]) -> Reply:
        page = pages.get(path.partition("?")[0])
        if page is None:
            return Reply(b"", 404)
        return Reply(page) if isinstance(page, bytes) else page

    return StreamServer(answer)


def test_hls_plays_at_its_own_pace_to_its_end(segments: list[bytes]) -> None:
    names = ["0.ts", "1.ts"]
    pages: Pages = {"/live.m3u8": playlist(*names), **{f"/{n}": s for n, s in zip(names, segments[:2], strict=True)}}
    with served(pages) as web:
        pull = pulled(f"{web.url}/live.m3u8", rate="25", is_recording=True)

    (session,) = pull.sessions
    assert (session.opened.container, len(session.frames)) == ("mpegts", 50)
    assert session.slots == list(range(50))
    assert assert_replays(pull) == 50
    assert pull.ended is not None
    assert pull.ended.reason is EndReason.ENDED
    assert session.frames[-1].arrived_at - session.frames[0].arrived_at >= 1.9
    assert not any(frame.is_corrupt for frame in session.frames)


def test_hls_that_grows_is_read_again(segments: list[bytes]) -> None:
    began = time.monotonic()

    def answer(path: str, _: dict[str, str]) -> Reply:
        if path == "/live.m3u8":
            num = min(3, 1 + int(time.monotonic() - began))
            return playlist(*(f"{index}.ts" for index in range(num)), is_complete=num == 3)
        return Reply(segments[int(path.strip("/").removesuffix(".ts"))])

    with StreamServer(answer) as web:
        pull = pulled(f"{web.url}/live.m3u8", rate="5")

    (session,) = pull.sessions
    assert session.slots == list(range(15))
    assert sorted(path for path in web.paths if path.endswith(".ts")) == ["/0.ts", "/1.ts", "/2.ts"]


def test_a_live_playlist_is_joined_near_its_end() -> None:
    segments = ts_segments(6)

    def answer(path: str, _: dict[str, str]) -> Reply:
        if path == "/live.m3u8":
            return playlist(*(f"{index}.ts" for index in range(6)), first=10, is_complete=False)
        return Reply(segments[int(path.strip("/").removesuffix(".ts"))])

    with StreamServer(answer) as web:
        pulled(f"{web.url}/live.m3u8", until=lambda pull: "/5.ts" in web.paths)

    assert [path for path in web.paths if path.endswith(".ts")] == ["/3.ts", "/4.ts", "/5.ts"]


def test_hls_in_fragmented_mp4_by_byte_ranges() -> None:
    header, fragments = mp4_fragments(2)
    starts = [len(header), len(header) + len(fragments[0])]
    lines = [f'#EXT-X-MAP:URI="all.mp4",BYTERANGE="{len(header)}@0"']
    lines += [f"#EXT-X-BYTERANGE:{len(fragments[0])}@{starts[0]}", "all.mp4"]
    lines += [f"#EXT-X-BYTERANGE:{len(fragments[1])}", "all.mp4"]  # where the range before ends
    with served({"/live.m3u8": playlist(*lines), "/all.mp4": header + b"".join(fragments)}) as web:
        pull = pulled(f"{web.url}/live.m3u8", rate="25", is_recording=True)

    assert [len(session.frames) for session in pull.sessions] == [50]
    assert assert_replays(pull) == 50
    ranges = [seen.get("Range", "") for seen in web.headers_seen]
    assert f"bytes=0-{len(header) - 1}" in ranges


@pytest.mark.parametrize("initial", [None, 0x1234], ids=["by-sequence-number", "as-stated"])
def test_hls_that_is_encrypted(segments: list[bytes], initial: int | None) -> None:
    key = bytes(range(16))

    def encrypted(data: bytes, sequence: int) -> bytes:
        padding = 16 - len(data) % 16
        first = (sequence if initial is None else initial).to_bytes(16, "big")
        cipher = Cipher(algorithms.AES(key), modes.CBC(first)).encryptor()
        return cipher.update(data + bytes([padding]) * padding) + cipher.finalize()

    stated = "" if initial is None else f",IV={initial:#x}"
    lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="/key"{stated}', "0.ts", "1.ts"]
    pages: Pages = {"/live.m3u8": playlist(*lines, first=7), "/key": key}
    pages |= {f"/{index}.ts": encrypted(segments[index], 7 + index) for index in range(2)}
    with served(pages) as web:
        pull = pulled(f"{web.url}/live.m3u8")

    assert len(pull.frames) == 50
    assert web.paths.count("/key") == 1


def test_a_discontinuity_is_another_session(segments: list[bytes]) -> None:
    other = ts_segments(1, size=(160, 96), first_picture=300, begins_s=60)
    pages: Pages = {
        "/live.m3u8": playlist("0.ts", "#EXT-X-DISCONTINUITY", "other.ts"),
        "/0.ts": segments[0],
        "/other.ts": other[0],
    }
    with served(pages) as web:
        pull = pulled(f"{web.url}/live.m3u8", rate="25", is_recording=True)

    assert [(s.opened.width, len(s.frames), s.opened.why) for s in pull.sessions] == [
        (96, 25, "connected"),
        (160, 25, "discontinuity"),
    ]
    assert len(pull.files) == 2
    arrivals = [frame.arrived_at for frame in pull.frames]
    assert max(later - earlier for earlier, later in itertools.pairwise(arrivals)) < 20, "it waited for pts"


def test_of_variants_the_best_is_pulled(segments: list[bytes]) -> None:
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nbad.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=90\nsub/good.m3u8\n"
    pages: Pages = {"/m.m3u8": Reply(master.encode()), "/sub/good.m3u8": playlist("0.ts"), "/sub/0.ts": segments[0]}
    with served(pages) as web:
        pull = pulled(f"{web.url}/m.m3u8?token=1")

    assert len(pull.frames) == 25
    assert "/bad.m3u8" not in web.paths


def test_mpeg_ts_without_an_end_is_live() -> None:
    segments = ts_segments(8)

    def body() -> Iterator[bytes]:
        for segment in segments:
            yield segment
            time.sleep(0.05)

    with served({"/live.ts": Reply(body())}) as web:
        pull = pulled(f"{web.url}/live.ts", rate="25", is_recording=True)

    assert len(pull.frames) == 200
    assert pull.frames[-1].arrived_at - pull.frames[0].arrived_at < 7.5, "it waited for pts"
    assert assert_replays(pull) == 200
    assert pull.ended is not None
    assert pull.ended.reason is EndReason.CLOSED


@pytest.mark.parametrize("with_length", [True, False], ids=["with-lengths", "by-boundaries"])
def test_motion_jpeg_has_the_clock_of_its_arrival(with_length: bool) -> None:
    began = time.monotonic()
    with served({"/cam": motion_jpeg(20, rate_hz=Fraction(10), with_length=with_length)}) as web:
        pull = pulled(f"{web.url}/cam", rate="4", is_recording=True)

    (session,) = pull.sessions
    assert (session.opened.container, session.opened.codec) == ("mpjpeg", "mjpeg")
    assert len(session.frames) >= 19
    span = float(session.frames[-1].time_s)
    assert 1.2 < span < time.monotonic() - began
    assert abs(span - (session.frames[-1].arrived_at - session.frames[0].arrived_at)) < 0.2
    assert assert_replays(pull) == len(session.samples)


def test_a_file_by_http_is_played_at_its_own_pace() -> None:
    data = video_bytes(num_frames=25, muxer={"movflags": "empty_moov+frag_keyframe+default_base_moof"})
    with served({"/clip.mp4": data}) as web:
        pull = pulled(f"{web.url}/clip.mp4", rate="25")

    assert len(pull.frames) == 25
    assert pull.frames[-1].arrived_at - pull.frames[0].arrived_at >= 0.9
    assert pull.ended is not None
    assert pull.ended.reason is EndReason.ENDED


ELSEWHERE = {
    "segment": "{there}/seg.ts",
    "redirected-segment": "jump.ts",
    "file": "file:///etc/hostname",
    "concat": "concat:{there}/a|{there}/b",
    "data": "data:video/mp2t;base64,AAAA",
    "other-scheme": "https://127.0.0.1:1/seg.ts",
    "key": '#EXT-X-KEY:METHOD=AES-128,URI="{there}/key"\nseg.ts',
    "map": '#EXT-X-MAP:URI="{there}/init.mp4"\nseg.ts',
}


@pytest.mark.parametrize("leading", [*ELSEWHERE, "variant", "redirect"])
@pytest.mark.quick_one_in(4)
def test_nothing_that_a_source_says_leads_elsewhere(segments: list[bytes], leading: str) -> None:
    with served({"/seg.ts": segments[0], "/key": bytes(16), "/good.m3u8": playlist("seg.ts")}) as hidden:
        pages: Pages = {
            "/seg.ts": segments[0],
            "/jump.ts": Reply(b"", 302, {"Location": f"{hidden.url}/seg.ts"}),
            "/x.m3u8": playlist(*ELSEWHERE.get(leading, "").format(there=hidden.url).split("\n")),
        }
        if leading == "variant":
            pages["/x.m3u8"] = Reply(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{hidden.url}/good.m3u8\n".encode())
        if leading == "redirect":
            pages["/x.m3u8"] = Reply(b"", 302, {"Location": f"{hidden.url}/good.m3u8"})
        with served(pages) as web:
            pull = pulled(f"{web.url}/x.m3u8")

        assert pull.ended is not None
        assert pull.ended.reason is EndReason.REFUSED
        assert pull.frames == []
        assert hidden.connections == 0
        if leading in ("segment", "variant", "redirect", "key", "map"):
            assert f"--allow-source {hidden.url}" in pull.ended.detail


def test_what_is_allowed_further_is_reached_without_the_credentials(segments: list[bytes]) -> None:
    with served({"/seg.ts": segments[0]}) as other:

        def answer(path: str, headers: dict[str, str]) -> Reply:
            given = headers.get("Authorization", "").removeprefix("Basic ")
            if base64.b64decode(given).decode() != f"viewer:{PASSWORD}":
                return Reply(b"", 401, {"WWW-Authenticate": 'Basic realm="cam"'})
            return playlist(f"{other.url}/seg.ts")

        with StreamServer(answer) as web:
            url = web.url.replace("//", f"//viewer:{PASSWORD}@")
            pull = pulled(source_of(f"{url}/x.m3u8", f"http://127.0.0.1:{other.port}"))

        assert len(pull.frames) == 25
        assert all("Authorization" not in seen for seen in other.headers_seen)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param(Reply(b"", 404), EndReason.UNREACHABLE, id="nothing-there"),
        pytest.param(Reply(b"", 401, {"WWW-Authenticate": "Basic"}), EndReason.UNAUTHORIZED, id="wants-a-login"),
        pytest.param(Reply(b"\xff\xd8", headers={"Content-Type": "image/jpeg"}), EndReason.UNREADABLE, id="still"),
        pytest.param(Reply(b"<html>no</html>" * 500), EndReason.UNREADABLE, id="web-page"),
        pytest.param(playlist('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"', "a.ts"), EndReason.UNREADABLE, id="drm"),
        pytest.param(Reply(b"ffconcat version 1.0\nfile 'x.mp4'\n" * 50), EndReason.UNREADABLE, id="script"),
    ],
)  # fmt: skip
def test_what_is_no_stream_is_told_in_words(page: Reply, reason: EndReason) -> None:
    with served({"/x": page}) as web:
        pull = pulled(f"{web.url}/x?token={PASSWORD}")

    assert pull.ended is not None
    assert pull.ended.reason is reason
    assert PASSWORD not in pull.ended.detail
