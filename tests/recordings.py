"""Recordings as a puller makes them of the tests' own videos."""

import hashlib
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from typing import cast

import av

from pipeline.cameras.recordings.writer import RecordingWriter
from pipeline.media.live.messages import PartRecorded
from pipeline.media.live.recorder import Recorder
from pipeline.records.streams import Session

STARTED_AT = datetime(2026, 11, 26, 6, 12, 30, 123_000, tzinfo=UTC)


def parts_of(data: bytes, *, longest_s: float = 300, shift: int = 0) -> list[PartRecorded]:
    """The recording of a stream of these packets, in its order; ``shift`` moves all timestamps."""
    parts: list[PartRecorded] = []
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        time_base = cast(Fraction, stream.time_base)
        packets = [packet for packet in source.demux(stream) if packet.size and packet.pts is not None]
        stamps = [cast(int, packet.pts) + shift for packet in packets]
        recorder = Recorder(stream, time_base=lambda: time_base, file_s=longest_s)
        parts += recorder.begin_session(min(stamps))
        for place, packet in enumerate(packets):
            parts += recorder.add(bytes(packet), pts=stamps[place], is_keyframe=packet.is_keyframe)
            following = min(stamps[place + 1 :], default=max(stamps) + 1)
            recorder.show(max(pts for pts in stamps if pts < following))
        return parts + list(recorder.cut())


def files_of(parts: Iterable[PartRecorded]) -> list[bytes]:
    """The files that parts make."""
    files: list[bytes] = []
    for part in parts:
        if part.is_first:
            files.append(b"")
        files[-1] += part.data
    return files


def session(stream: str = "gate", *, data: bytes, started_at: datetime = STARTED_AT) -> Session:
    """The session of a stream that sends these packets."""
    with av.open(io.BytesIO(data), "r") as source:
        stream_of = source.streams.video[0]
        codec = stream_of.codec_context
        first_pts = min(packet.pts for packet in source.demux(stream_of) if packet.pts is not None)
        return Session(
            video_id=hashlib.sha256(f"{stream} {started_at}".encode()).hexdigest()[:20],
            uri=f"rtsp://camera/{stream}",
            stream=stream,
            started_at=started_at,
            time_base=cast(Fraction, stream_of.time_base),
            start_pts=first_pts,
            container="rtsp",
            codec=codec.name,
            width=codec.width,
            height=codec.height,
            rotation=0,
            pix_fmt=str(codec.pix_fmt),
        )


def record(writer: RecordingWriter, parts: Iterable[PartRecorded]) -> None:
    """Hand over what a puller gives of a session."""
    for part in parts:
        writer.write(part.data, is_first=part.is_first, start_time_s=part.start_time_s, end_time_s=part.end_time_s)
