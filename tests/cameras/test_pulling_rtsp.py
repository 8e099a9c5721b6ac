"""RTSP cameras that behave, die, freeze and lie: what is pulled is what they showed, and nobody is sent elsewhere."""

import itertools
import socket
import time
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from pulls import Pull, assert_replays, pulled, source_of
from rtsp_cameras import RealCamera, ScriptedCamera, Sent, require_real_camera, script_of
from videos import video_bytes

from pipeline.cameras.pulling.pulled import EndReason, Recorded
from pipeline.cameras.pulling.source import Credentials

PASSWORD = "pw-9d2e-never-to-be-seen"
QUICK_S = 0.002
"""Between two pictures. A camera may send seconds in a burst, as long as its clock gets less than ten seconds ahead."""


@pytest.fixture(scope="module")
def clip() -> bytes:
    """Four seconds at 25 a second with B-frames and a keyframe every 24 frames."""
    return video_bytes(num_frames=100)


def moved(script: Iterable[Sent], *, by_s: float) -> list[Sent]:
    return [replace(sent, rtp_time=sent.rtp_time + round(by_s * 90_000)) for sent in script]


def frames_per_session(pull: Pull) -> list[int]:
    return [len(session.frames) for session in pull.sessions]


def test_all_frames_come_and_replay_to_the_same_pixels(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip, pace_s=QUICK_S)) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True)

    (session,) = pull.sessions
    assert (session.opened.container, session.opened.codec, session.opened.width) == ("rtsp", "h264", 96)
    assert [frame.time_s for frame in session.frames] == [Fraction(index, 25) for index in range(100)]
    assert session.slots == list(range(100))
    assert assert_replays(pull) == 100
    assert (pull.ended is not None, pull.ended and pull.ended.reason) == (True, EndReason.CLOSED)


def test_a_camera_that_is_joined_within_a_gop_is_shown_from_its_next_keyframe(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip, pace_s=QUICK_S)[10:]) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True)

    assert frames_per_session(pull) == [100 - 24]
    assert pull.frames[0].is_keyframe
    assert assert_replays(pull) == 76


def test_slots_are_those_of_the_batch(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip, pace_s=QUICK_S)) as camera:
        pull = pulled(camera.url, rate="7", detect_rate="12.5")

    expected = [next(index for index in range(100) if Fraction(index, 25) >= Fraction(slot, 7)) for slot in range(28)]
    assert [index for index, frame in enumerate(pull.frames) if frame.slot is not None] == expected
    assert [index for index, frame in enumerate(pull.frames) if frame.detect] == list(range(0, 100, 2))
    assert all((frame.picture is not None) == (frame.slot is not None or frame.detect) for frame in pull.frames)


def test_parameter_sets_may_come_with_the_pictures_alone(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip, pace_s=QUICK_S), with_sets_in_sdp=False) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True)

    assert frames_per_session(pull) == [100]
    assert assert_replays(pull) == 100


def test_a_camera_that_stalls_within_a_picture_loses_nothing(clip: bytes) -> None:
    script = script_of(clip, pace_s=QUICK_S)
    script[50] = replace(script[50], pause_in_middle_s=1.5)
    with ScriptedCamera(lambda: script) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True)

    assert frames_per_session(pull) == [100]
    assert assert_replays(pull) == 100
    arrivals = [frame.arrived_at for frame in pull.frames]
    assert max(b - a for a, b in itertools.pairwise(arrivals)) > 1


def test_a_camera_that_freezes_blocks_no_reader(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip, pace_s=0)[:30], at_end="stay") as camera:
        began: list[float] = []

        def has_been_frozen(pull: Pull) -> bool:
            if not began and len(pull.frames) >= 20:
                began.append(time.monotonic())
            return bool(began) and time.monotonic() - began[0] > 1.5

        pull = pulled(camera.url, until=has_been_frozen)

    assert pull.ended is None
    assert len(pull.frames) >= 20


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0, -1.0], ids=["back", "forward", "a-little-back"])
def test_a_clock_that_jumps_is_a_new_session_and_never_a_burst_or_a_stall(clip: bytes, by_s: float) -> None:
    first = script_of(clip, pace_s=QUICK_S, first_rtp_time=400_000_000)
    second = moved(first, by_s=4 + by_s)
    with ScriptedCamera(lambda: [*first, *second]) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True)

    assert frames_per_session(pull) == [100, 100]
    assert pull.sessions[1].opened.why == "clock"
    assert [session.slots for session in pull.sessions] == [list(range(100))] * 2
    assert [part.is_first for part in pull.recorded].count(True) == 2
    assert assert_replays(pull) == 200 if abs(by_s) > 60 else assert_replays_each_file(pull) == 200


def assert_replays_each_file(pull: Pull) -> int:
    """The same where files overlap in time: each session against its own file."""
    return sum(
        assert_replays(Pull(sessions=[session], recorded=recorded))
        for session, recorded in zip(pull.sessions, split_by_file(pull), strict=True)
    )


def split_by_file(pull: Pull) -> list[list[Recorded]]:
    files: list[list[Recorded]] = []
    for part in pull.recorded:
        if part.is_first:
            files.append([])
        files[-1].append(part)
    return files


def test_a_gap_that_the_wall_clock_confirms_is_a_gap(clip: bytes) -> None:
    first = script_of(clip, pace_s=QUICK_S)
    second = moved(first, by_s=4 + 2.4)
    second[0] = replace(second[0], after_s=2.6)
    with ScriptedCamera(lambda: [*first, *second]) as camera:
        pull = pulled(camera.url, rate="5")

    (session,) = pull.sessions
    assert session.slots == [*range(20), *range(32, 52)]


def test_a_clock_that_runs_too_fast_is_set_anew(clip: bytes) -> None:
    script = script_of(clip, pace_s=QUICK_S)
    fast = [replace(sent, rtp_time=sent.rtp_time * 20) for sent in script]
    with ScriptedCamera(lambda: fast) as camera:
        pull = pulled(camera.url, rate="1")

    assert len(pull.sessions) > 5
    assert max(session.frames[-1].time_s for session in pull.sessions) < 14


def test_another_size_is_another_session_and_another_file(clip: bytes) -> None:
    large = script_of(video_bytes(num_frames=50, size=(160, 96)), pace_s=QUICK_S)
    script = [*script_of(clip, pace_s=QUICK_S), *moved(large, by_s=4)]
    with ScriptedCamera(lambda: script) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True)

    assert [(session.opened.width, len(session.frames)) for session in pull.sessions] == [(96, 100), (160, 50)]
    assert pull.sessions[1].opened.why == "size"
    assert len(pull.files) == 2
    assert assert_replays(pull) == 150


@pytest.mark.parametrize(
    ("scheme", "qop"), [("Basic", True), ("Digest", True), ("Digest", False)], ids=["basic", "digest", "digest-2069"]
)
def test_the_relay_logs_in_and_the_decoder_never_knows(clip: bytes, scheme: str, qop: bool) -> None:
    login = ("viewer", PASSWORD)
    with ScriptedCamera(lambda: script_of(clip, pace_s=QUICK_S), login=login, scheme=scheme, qop=qop) as camera:
        source = source_of(camera.url.replace("//", f"//viewer:{PASSWORD}@"))
        pull = pulled(source)

    assert len(pull.frames) == 100
    assert PASSWORD not in repr(source)
    assert PASSWORD not in repr(pull.ended)
    assert (source.uri, source.credentials) == (camera.url, Credentials(user="viewer", password=PASSWORD))


def test_a_wrong_password_is_said_and_not_shown(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip), login=("viewer", "another")) as camera:
        pull = pulled(camera.url.replace("//", f"//viewer:{PASSWORD}@"))

    assert pull.ended is not None
    assert pull.ended.reason is EndReason.UNAUTHORIZED
    assert PASSWORD not in pull.ended.detail
    assert len(camera.requests) <= 4


def test_a_redirect_is_refused_and_leads_nowhere(clip: bytes) -> None:
    with ScriptedCamera(lambda: script_of(clip)) as elsewhere:

        def redirect(method: str, sequence: str) -> bytes:
            return f"RTSP/1.0 302 Moved\r\nCSeq: {sequence}\r\nLocation: {elsewhere.url}\r\n\r\n".encode()

        with ScriptedCamera(lambda: [], answer_first=redirect) as camera:
            pull = pulled(camera.url)

        assert pull.ended is not None
        assert pull.ended.reason is EndReason.REFUSED
        assert elsewhere.connections == 0


def test_a_camera_that_names_another_host_is_still_asked_itself(clip: bytes) -> None:
    """As behind a gateway; the address that it names is never connected to."""
    with ScriptedCamera(lambda: []) as elsewhere:
        name = f"127.0.0.1:{elsewhere.port}"
        with ScriptedCamera(lambda: script_of(clip, pace_s=QUICK_S), named_authority=name) as camera:
            pull = pulled(camera.url)

        assert len(pull.frames) == 100
        assert elsewhere.connections == 0
        assert all(f"rtsp://127.0.0.1:{camera.port}/cam" in request for request in camera.requests)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"RTSP/1.0 404 Not Found\r\nCSeq: %s\r\n\r\n", EndReason.UNREACHABLE, id="nothing-there"),
        pytest.param(b"RTSP/1.0 461 Unsupported\r\nCSeq: %s\r\n\r\n", EndReason.UNREADABLE, id="no-tcp"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", EndReason.UNREADABLE, id="no-rtsp"),
        pytest.param(b"\xff\xfe\0\0" * 100, EndReason.UNREADABLE, id="garbage"),
    ],
)
def test_what_answers_otherwise_is_told_in_words(answer: bytes, reason: EndReason) -> None:
    def odd(method: str, sequence: str) -> bytes | None:
        if method == "OPTIONS" and answer.startswith(b"RTSP"):
            return None
        return answer.replace(b"%s", sequence.encode())

    with ScriptedCamera(lambda: [], answer_first=odd) as camera:
        pull = pulled(camera.url)

    assert pull.ended is not None
    assert pull.ended.reason is reason


def test_nobody_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pull = pulled(f"rtsp://127.0.0.1:{port}/cam")

    assert pull.ended is not None
    assert (pull.ended.reason, "refused" in pull.ended.detail) == (EndReason.UNREACHABLE, True)


def test_a_real_camera_shows_a_picture_soon_after_its_first_keyframe(tmp_path: Path) -> None:
    require_real_camera()
    path = tmp_path / "clip.mp4"
    path.write_bytes(video_bytes(num_frames=50, size=(320, 192)))
    with RealCamera(path) as camera:
        pull = pulled(camera.url, rate="25", is_recording=True, until=lambda pull: len(pull.frames) > 60)

    assert_replays(pull)
    (session,) = pull.sessions
    steps = {b.time_s - a.time_s for a, b in itertools.pairwise(session.frames)}
    assert steps == {Fraction(1, 25)}
