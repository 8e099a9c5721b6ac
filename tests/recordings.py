"""Recordings as a puller makes them of the tests' own videos."""

import hashlib
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from typing import cast

import av

from pipeline.cameras.recordings.writer import RecordingWriter
from pipeline.media.fragments import Fragments, FragmentWriter
from pipeline.records.streams import Session

STARTED_AT = datetime(2026, 11, 26, 6, 12, 30, 123_000, tzinfo=UTC)


def fragments_of(
    data: bytes, *, longest_s: float = 300, largest_bytes: int = 1 << 30, shift: int = 0, has_dts: bool = True
) -> list[Fragments]:
    """Whatever a stream of these packets gives, in its order; ``shift`` moves all timestamps."""
    fragments = []
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        time_base = cast(Fraction, stream.time_base)
        writer = FragmentWriter(stream, time_base=time_base, longest_s=longest_s, largest_bytes=largest_bytes)
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None:
                packet.pts += shift
                packet.dts = None if packet.dts is None or not has_dts else packet.dts + shift
                fragments += writer.add(packet)
        return fragments + writer.close()


def files_of(fragments: Iterable[Fragments]) -> list[bytes]:
    """The files that fragments make."""
    files: list[bytes] = []
    for fragment in fragments:
        if fragment.is_first:
            files.append(b"")
        files[-1] += fragment.data
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


def record(writer: RecordingWriter, fragments: Iterable[Fragments], of: Session) -> None:
    """Hand over what a puller gives of a session."""
    for each in fragments:
        start, end = (float((pts - of.start_pts) * of.time_base) for pts in (each.start_pts, each.end_pts))
        writer.write(each.data, is_first=each.is_first, start_time_s=start, end_time_s=end)
