"""What the probe says of a video, and what it costs."""

import io
from fractions import Fraction
from typing import cast

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.stream import Disposition
from media import CountingFile, decode, plan
from videos import X264, pixels, remuxed, video_bytes

from pipeline.errors import InputError
from pipeline.records.segments import Segment, TimeRange, VideoFacts


def sound_bytes(kind: str, codec: str, *, cover: bool = False) -> bytes:
    """Two seconds of a tone, with a picture of the cover if asked for."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as out:
        stream = cast(AudioStream, out.add_stream(codec, rate=44100))
        picture = None
        if cover:
            picture = out.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = Disposition.attached_pic
        tone = (np.sin(np.arange(44100 * 2) / 20) * 8000).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.rate = 44100
        if picture is not None:
            still = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            still.pts = 0
            out.mux(picture.encode(still.reformat(format="yuvj420p")))
            out.mux(picture.encode())
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def test_facts_of_a_plain_video() -> None:
    planned = plan(video_bytes(num_frames=100))
    facts = planned.facts
    assert (facts.codec, facts.width, facts.height, facts.pix_fmt) == ("h264", 96, 64, "yuv420p")
    assert (facts.frame_rate_hz, facts.duration_s, facts.origin_pts) == (Fraction(25), 4.0, 0)
    assert not facts.is_sequential
    assert VideoFacts.from_json(facts.to_json()) == facts
    assert [Segment.from_json(segment.to_json()) for segment in planned.segments] == list(planned.segments)


@pytest.mark.parametrize(
    ("kind", "codec", "cover"),
    [
        pytest.param("wav", "pcm_s16le", False, id="wav"),
        pytest.param("mp3", "libmp3lame", False, id="mp3"),
        pytest.param("mp3", "libmp3lame", True, id="mp3-with-cover"),
        pytest.param("ipod", "aac", False, id="m4a"),
        pytest.param("mp4", "aac", True, id="m4a-with-cover"),
        pytest.param("flac", "flac", False, id="flac"),
    ],
)
def test_sound_has_no_video_stream(kind: str, codec: str, cover: bool) -> None:
    with pytest.raises(InputError) as caught:
        plan(sound_bytes(kind, codec, cover=cover))
    assert caught.value.reason == "no_video_stream"


@pytest.mark.parametrize(
    "data",
    [b"\x1a", b"<!doctype html><title>404 Not Found</title>", b"not a video\n" * 500],
    ids=["byte", "page", "text"],
)
def test_what_is_no_video_is_said_so(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        plan(data)
    assert caught.value.reason == "not_video"


def test_best_of_two_video_streams_is_taken() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        streams = []
        for size in ((48, 32), (192, 128)):
            stream = out.add_stream("libx264", rate=25, options=X264)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = Disposition.default if size[0] > 100 else Disposition(0)
            streams.append(stream)
        for index in range(50):
            for stream in streams:
                picture = pixels(index, width=stream.width, height=stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode())
    planned = plan(file.getvalue(), "fps:5", segment_s=0.8)
    assert (planned.facts.stream_index, planned.facts.width) == (1, 192)
    decoded = decode(file.getvalue(), planned, "fps:5")
    assert [picture.shape for picture in decoded.pictures] == [(128, 192, 3)] * 10


def test_frames_larger_than_allowed_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        plan(video_bytes(num_frames=3), max_pixels=96 * 64 - 1)
    assert caught.value.reason == "too_large"


def test_planning_an_mp4_reads_its_header_and_a_keyframe_at_each_cut() -> None:
    data = video_bytes(num_frames=200, size=(320, 192), options={**X264, "crf": "5", "g": "50"})
    file = CountingFile(data)
    planned = plan(data, "fps:1", segment_s=4, file=file)
    assert len(planned.segments) >= 2
    assert len(data) > 1_000_000
    assert file.num_read < len(data) / 2


def test_asked_range_leaves_out_the_segments_beside_it() -> None:
    data = video_bytes(num_frames=200)
    whole = plan(data, "fps:5", segment_s=0.9)
    part_range = TimeRange(start=Fraction(3), end=Fraction(5))
    part = plan(data, "fps:5", segment_s=0.9, time_range=part_range)
    assert 0 < len(part.segments) < len(whole.segments)
    assert {segment.index for segment in part.segments} < {segment.index for segment in whole.segments}
    inside = [m.pts for m in decode(data, whole, "fps:5").marks if 3 <= m.time_s < 5]
    assert decode(data, part, "fps:5", time_range=part_range).pts == inside


def test_clock_that_claims_ages_is_not_believed() -> None:
    data = remuxed(
        video_bytes(kind="matroska", num_frames=50), kind="matroska", shift=0, muxer={"avoid_negative_ts": "disabled"}
    )
    planned = plan(data, "fps:1")
    assert planned.facts.duration_s < 1e9
    leap = video_bytes(kind="nut", num_frames=50, pts_ms=lambda index: index * 40 if index < 25 else (1 << 52) + index)
    assert plan(leap, "fps:1000").facts.duration_s < 1e9
