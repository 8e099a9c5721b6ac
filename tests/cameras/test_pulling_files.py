"""Files played at their own pace; and of every puller: it is closed at once, and a slow reader finds drops."""

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import media
import numpy as np
import psutil
import pytest
from live_web import Reply, StreamServer
from pulls import assert_replays, pulled, source_of
from rtsp_cameras import ScriptedCamera, script_of
from videos import X264, X265, video_bytes

from pipeline.cameras.pulling.pulled import Ended, EndReason, Frame, PullLimits, Wishes
from pipeline.cameras.pulling.puller import Puller

SCRIPT = "ffconcat version 1.0\nfile 'x.mp4'"
WISHES = Wishes(rate_hz=Fraction(5))
CLOSED_WITHIN_S = 0.2 + 0.8
"""And what a machine that does other things too adds."""


def written(tmp_path: Path, data: bytes, name: str = "clip.mp4") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    return f"file:{path}"


def test_a_file_is_played_at_its_own_pace_to_its_end(tmp_path: Path) -> None:
    pull = pulled(written(tmp_path, video_bytes(num_frames=50)), rate="25")

    (session,) = pull.sessions
    assert session.slots == list(range(50))
    late = [frame.arrived_at - session.frames[0].arrived_at - float(frame.time_s) for frame in session.frames]
    assert min(late) > -1, "a file that is played as fast as it can be read is done at once"
    assert max(late) < 10
    assert pull.ended is not None
    assert pull.ended.reason is EndReason.ENDED


@pytest.mark.parametrize("rate", ["7", "12.5", "30"])
def test_its_slots_are_those_that_the_batch_picks(tmp_path: Path, rate: str) -> None:
    data = video_bytes(num_frames=40)
    pull = pulled(written(tmp_path, data), rate=rate)

    batch = media.extract(data, f"fps:{rate}")
    assert [frame.pts for frame in pull.sessions[0].samples] == batch.pts
    assert [float(frame.time_s) for frame in pull.sessions[0].samples] == [mark.time_s for mark in batch.marks]
    for frame, picture in zip(pull.sessions[0].samples, batch.pictures, strict=True):
        np.testing.assert_array_equal(frame.picture, picture)


FORMATS = [
    pytest.param("libx264", X264, "mp4", "yuv420p", id="h264-with-b-frames"),
    pytest.param("libx264", X264 | {"x264-params": "open-gop=1"}, "matroska", "yuv420p", id="h264-open-gops"),
    pytest.param("libx265", X265, "mp4", "yuv420p", id="hevc"),
    pytest.param("libx265", X265, "mpegts", "yuv420p10le", id="hevc-10-bits-ts"),
    pytest.param("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "24"}, "webm", "yuv420p", id="vp9"),
    pytest.param("mpeg4", {"g": "12", "bf": "2"}, "mp4", "yuv420p", id="mpeg4"),
    pytest.param("mpeg2video", {"g": "12", "bf": "2"}, "mpegts", "yuv420p", id="mpeg2-ts"),
    pytest.param("mjpeg", {}, "matroska", "yuvj420p", id="motion-jpeg"),
]


@pytest.mark.parametrize(("codec", "options", "kind", "pix_fmt"), FORMATS)
@pytest.mark.quick_one_in(3)
def test_the_recording_replays_to_the_same_pixels_in_every_file(
    tmp_path: Path, codec: str, options: dict[str, str], kind: str, pix_fmt: str
) -> None:
    data = video_bytes(codec, options, kind=kind, num_frames=60, pix_fmt=pix_fmt, rate_hz=Fraction(50))
    pull = pulled(written(tmp_path, data), rate="50", is_recording=True, recording_file_s=0.4)

    assert len(pull.frames) == 60
    assert assert_replays(pull) == 60
    assert len(pull.files) > 1
    parts = [(part.start_time_s, part.end_time_s) for part in pull.recorded]
    assert parts[0][0] == 0
    assert abs(parts[-1][1] - 1.2) < 0.05
    assert all(abs(later[0] - earlier[1]) < 0.25 for earlier, later in itertools.pairwise(parts))


def test_the_batch_picks_from_the_recording_what_was_picked_live(tmp_path: Path) -> None:
    pull = pulled(written(tmp_path, video_bytes(num_frames=50)), rate="7", is_recording=True)

    (file,) = pull.files
    plan = media.plan(file, "fps:7")
    batch = media.decode(file, plan, "fps:7")
    live = {session.at(frame): frame for session in pull.sessions for frame in session.samples}
    assert {mark.pts * plan.facts.time_base for mark in batch.marks} == set(live)
    for mark, picture in zip(batch.marks, batch.pictures, strict=True):
        np.testing.assert_array_equal(live[mark.pts * plan.facts.time_base].picture, picture)


def test_pictures_are_upright_and_luma_with_them(tmp_path: Path) -> None:
    pull = pulled(written(tmp_path, video_bytes(num_frames=5, size=(320, 192), rotation=90)))

    frame = pull.frames[0]
    assert frame.picture is not None
    assert (frame.picture.shape, frame.luma.shape) == ((320, 192, 3), (160, 96))
    grey = frame.picture.mean(axis=2).reshape(160, 2, 96, 2).mean(axis=(1, 3))
    assert abs(grey - frame.luma).mean() < 25


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: None, EndReason.UNREACHABLE, id="absent"),
        pytest.param(lambda path: path.write_bytes(b""), EndReason.UNREADABLE, id="empty"),
        pytest.param(lambda path: path.write_bytes(b"no video" * 999), EndReason.UNREADABLE, id="text"),
        pytest.param(os.mkfifo, EndReason.UNREADABLE, id="fifo"),
        pytest.param(Path.mkdir, EndReason.UNREADABLE, id="folder"),
        pytest.param(lambda path: path.write_text(SCRIPT), EndReason.UNREADABLE, id="script"),
    ],
)
def test_what_is_no_video_file_is_told_in_words(
    tmp_path: Path, make: Callable[[Path], object], reason: EndReason
) -> None:
    make(tmp_path / "odd")
    pull = pulled(f"file:{tmp_path / 'odd'}")

    assert pull.ended is not None
    assert pull.ended.reason is reason


def test_pictures_larger_than_allowed_end_it(tmp_path: Path) -> None:
    pull = pulled(written(tmp_path, video_bytes(num_frames=5)), max_pixels=1000)

    assert pull.ended is not None
    assert (pull.ended.reason, "too_large" in pull.ended.detail) == (EndReason.UNREADABLE, True)


def test_a_slow_reader_finds_the_newest_pictures_and_every_slot(tmp_path: Path) -> None:
    source = source_of(written(tmp_path, video_bytes(num_frames=40)))
    limits = PullLimits(max_picture_bytes=3 * 96 * 64 * 3)
    with Puller(source, wishes=Wishes(rate_hz=Fraction(25)), limits=limits) as puller:
        first = puller.read(20)
        assert puller._thread is not None
        puller._thread.join(60)  # nobody reads until all has been shown
        assert not puller._thread.is_alive()
        frames = []
        while isinstance(item := puller.read(1), Frame):
            frames.append(item)

    assert first is not None
    assert [frame.slot for frame in frames] == list(range(40))
    assert [frame.is_dropped for frame in frames] == [True] * 37 + [False] * 3


def test_whenever_it_is_closed_what_was_shown_is_recorded() -> None:
    clip = video_bytes(num_frames=100)
    with ScriptedCamera(lambda: script_of(clip, pace_s=0.002), at_end="stay") as camera:
        pull = pulled(camera.url, rate="25", is_recording=True, until=lambda pull: len(pull.frames) == 61)

    assert assert_replays(pull) == 61


class TestClosing:
    """In any state the processes are gone, and the sockets closed, at once."""

    @staticmethod
    def close_and_time(puller: Puller) -> float:
        children = psutil.Process().children(recursive=True)
        began = time.monotonic()
        puller.close()
        took_s = time.monotonic() - began
        ours = [child for child in children if any(word.startswith("pipeline.") for word in _words(child))]
        assert not [child for child in ours if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        return took_s

    def test_at_once(self, tmp_path: Path) -> None:
        puller = Puller(source_of("rtsp://127.0.0.1:1/cam"), wishes=WISHES)
        assert self.close_and_time(puller) < CLOSED_WITHIN_S

    def test_while_a_camera_says_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            puller = Puller(source_of(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"), wishes=WISHES)
            heard, _ = silent.accept()
            assert puller.read(1.5) is None
            assert self.close_and_time(puller) < CLOSED_WITHIN_S
            heard.settimeout(2)
            try:
                while heard.recv(65536):
                    pass
            except ConnectionResetError:
                pass
            heard.close()

    def test_while_a_playlist_does_not_come(self) -> None:
        def slow(path: str, headers: dict[str, str]) -> Reply:
            time.sleep(4)
            return Reply()

        with StreamServer(slow) as web:
            puller = Puller(source_of(f"{web.url}/x.m3u8"), wishes=WISHES)
            assert puller.read(1.5) is None
            assert self.close_and_time(puller) < CLOSED_WITHIN_S

    def test_while_it_plays(self) -> None:
        clip = video_bytes(num_frames=100)
        with ScriptedCamera(lambda: script_of(clip, pace_s=0.04)) as camera:
            puller = Puller(source_of(camera.url), wishes=WISHES)
            while not isinstance(puller.read(10), Frame):
                pass
            assert self.close_and_time(puller) < CLOSED_WITHIN_S

    def test_after_it_ended_and_twice(self, tmp_path: Path) -> None:
        puller = Puller(source_of(f"file:{tmp_path / 'absent'}"), wishes=WISHES)
        assert isinstance(puller.read(1), Ended)
        assert isinstance(puller.read(0), Ended)
        puller.close()
        assert self.close_and_time(puller) < CLOSED_WITHIN_S

    def test_no_descriptor_and_no_thread_stays(self, tmp_path: Path) -> None:
        source = source_of(written(tmp_path, video_bytes(num_frames=3)))
        pulled(source)
        process = psutil.Process()
        before = (process.num_fds(), threading.active_count())
        for _ in range(3):
            pulled(source)
        assert process.num_fds() <= before[0]
        assert threading.active_count() <= before[1]


@pytest.mark.parametrize("victim", ["connector", "live_child"])
def test_a_killed_process_ends_it_and_is_told(victim: str) -> None:
    clip = video_bytes(num_frames=100)
    with ScriptedCamera(lambda: script_of(clip, pace_s=0.05), at_end="stay") as camera:
        puller = Puller(source_of(camera.url), wishes=WISHES)
        while not isinstance(puller.read(10), Frame):
            pass
        _child(victim).kill()
        ended = next(item for item in iter(lambda: puller.read(10), None) if isinstance(item, Ended))
        puller.close()

    assert ended.reason is EndReason.KILLED


def test_a_decoder_that_never_starts_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cameras.pulling.puller._START_S", 1.0)
    with Puller(source_of(written(tmp_path, video_bytes(num_frames=3))), wishes=WISHES) as puller:
        _child("live_child").suspend()
        assert (puller.heard_at, puller.read(0.2)) == (None, None)
        ended = puller.read(30)

    assert ended == Ended(reason=EndReason.CRASHED, detail="the decoder does not start")


def _child(word: str) -> psutil.Process:
    """The one child of this process that is called so; tests before may have left others, of another kind."""
    (child,) = [each for each in psutil.Process().children() if word in " ".join(_words(each))]
    return child


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
