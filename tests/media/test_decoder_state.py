"""What a packet teaches its decoder for later: a cut never loses it, and no sample shows what it was not meant to."""

import io
from collections.abc import Callable
from functools import cache

import av
import numpy as np
import pytest
from media import decode, plan
from odd_videos import flv_joined, joined, mp4_of_two_headers, palette_video, parameters_where
from videos import X264, X265, sequential, video_bytes

from pipeline.media.decoder_state import DecoderState

NO_B = {**X264, "bf": "0"}
# The second half is coded with other tools, which an old header makes garbage of, or with another quantiser for
# colours alone, which it decodes without an error.
OTHER_TOOLS = {**NO_B, "preset": "medium", "x264-params": "keyint=24:min-keyint=24:scenecut=0:weightp=0"}
OTHER_COLOURS = {**NO_B, "x264-params": "chroma-qp-offset=8"}
OTHER_HEVC = {**X265, "x265-params": X265["x265-params"] + ":cbqpoffs=6:crqpoffs=6"}
ONCE: Callable[[int], bool] = lambda index: index == 0  # noqa: E731


def halves(options: dict[str, str], *, codec: str = "libx264", kind: str = "mp4") -> tuple[bytes, bytes]:
    first = {**X265} if codec == "libx265" else NO_B if kind == "mp4" else X264
    return (
        video_bytes(codec, first, kind=kind, num_frames=96),
        video_bytes(codec, options, kind=kind, num_frames=96, first_picture=50),
    )


def once(options: dict[str, str], kind: str, *, is_sent: Callable[[int], bool] = ONCE) -> bytes:
    return joined(halves(options), kind=kind, edit=parameters_where(is_sent, codec="h264"))


def back_and_forth(options: dict[str, str]) -> bytes:
    first, second = halves(options)
    return joined([first, second, first], kind="matroska", edit=parameters_where(ONCE, codec="h264"))


CASES: dict[str, Callable[[], bytes]] = {
    "h264-parameters-once-mkv": lambda: once(OTHER_TOOLS, "matroska"),
    "h264-parameters-once-mp4": lambda: once(OTHER_TOOLS, "mp4"),
    "h264-parameters-once-flv": lambda: once(OTHER_TOOLS, "flv"),
    "h264-colours-once-mkv": lambda: once(OTHER_COLOURS, "matroska"),
    "h264-colours-once-flv": lambda: once(OTHER_COLOURS, "flv"),
    "h264-colours-once-and-amid-a-gop": lambda: once(OTHER_COLOURS, "matroska", is_sent=lambda index: index in (0, 36)),
    "h264-colours-at-every-keyframe": lambda: once(OTHER_COLOURS, "matroska", is_sent=lambda index: index % 24 == 0),
    "h264-colours-there-and-back": lambda: back_and_forth(OTHER_COLOURS),
    "hevc-colours-once-mkv": lambda: joined(
        halves(OTHER_HEVC, codec="libx265"), kind="matroska", edit=parameters_where(ONCE, codec="hevc")
    ),
    "mp4-with-two-headers": lambda: mp4_of_two_headers(*halves(OTHER_TOOLS)),
    "mp4-with-two-headers-of-colours": lambda: mp4_of_two_headers(*halves(OTHER_COLOURS)),
    "flv-with-a-new-header": lambda: flv_joined(*halves({**X264, "preset": "medium"}, kind="flv")),
    "flv-with-a-new-header-of-colours": lambda: flv_joined(
        *halves({**X264, "x264-params": "chroma-qp-offset=8"}, kind="flv")
    ),
    "palette-avi": lambda: palette_video("rawvideo", "avi"),
    "palette-that-changes-avi": lambda: palette_video("rawvideo", "avi", changes=True),
    "palette-mov": lambda: palette_video("rawvideo", "mov"),
    "palette-run-length-avi": lambda: palette_video("msrle", "avi"),
    "palette-png-mov": lambda: palette_video("png", "mov", changes=True),
    "palette-nut": lambda: palette_video("rawvideo", "nut", changes=True),
}
CUT_THROUGHOUT = ["h264-colours-at-every-keyframe", "mp4-with-two-headers", "mp4-with-two-headers-of-colours"]


@cache
def content(name: str) -> bytes:
    return CASES[name]()


@cache
def one_pass(name: str) -> dict[int | None, np.ndarray]:
    return {pts: picture for pts, _, picture in sequential(content(name))}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", ["fps:10", "fps:0.7", "all", "uniform:9"])
@pytest.mark.parametrize("segment_s", [0.8, 2.0])
@pytest.mark.quick_one_in(5)
def test_rows_are_those_of_one_pass_for_every_cut(name: str, rule: str, segment_s: float) -> None:
    planned = plan(content(name), rule, segment_s=segment_s)
    whole = decode(content(name), planned, rule)
    alone = [decode(content(name), planned, rule, segments=[segment]) for segment in reversed(planned.segments)]
    assert [pts for part in reversed(alone) for pts in part.pts] == whole.pts
    assert whole.pts == decode(content(name), plan(content(name), rule), rule).pts
    assert rule != "all" or len(whole.pts) == len(one_pass(name))
    for decoded in (whole, *alone):
        assert decoded.failures == []
        for mark, picture in zip(decoded.marks, decoded.pictures, strict=True):
            assert not mark.is_corrupt
            assert np.array_equal(picture, one_pass(name)[mark.pts]), f"another picture at {mark.time_s} s"


@pytest.mark.parametrize("name", CUT_THROUGHOUT)
def test_what_every_keyframe_brings_or_the_demuxer_repeats_is_no_reason_not_to_cut(name: str) -> None:
    assert len(plan(content(name), segment_s=0.8).segments) == 8


def test_keyframe_is_complete_where_it_brings_what_the_header_lacks() -> None:
    data = once(OTHER_COLOURS, "matroska", is_sent=lambda index: index in (0, 48))
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        state = DecoderState(stream.codec_context, container=source.format.name)
        lessons = [(packet.is_keyframe, state.follow(packet)) for packet in source.demux(stream) if packet.size]
    keyframes = [lesson for is_keyframe, lesson in lessons if is_keyframe]
    assert [lesson.is_complete for lesson in keyframes] == [True] * 4 + [True, False, True, False]
    assert [index for index, (_, lesson) in enumerate(lessons) if lesson.is_new] == [96]
    assert not state.is_in_header


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts", "flv", "avi"])
def test_sound_video_teaches_nothing_that_its_header_lacks(kind: str) -> None:
    with av.open(io.BytesIO(video_bytes(kind=kind)), "r") as source:
        stream = source.streams.video[0]
        state = DecoderState(stream.codec_context, container=source.format.name)
        lessons = [state.follow(packet) for packet in source.demux(stream) if packet.size]
    assert state.is_in_header
    assert all(lesson.is_complete and not lesson.is_new for lesson in lessons)
