"""Whether a video ends before it says that it does (runs in the decoder process)."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

from av.video.stream import VideoStream

from pipeline.media.container import time_base_of
from pipeline.media.probe.mp4_boxes import read_layout
from pipeline.media.sampling.footage import Footage
from pipeline.records.segments import Segment, TimeRange, VideoFacts

# Other containers do not say how long a stream is: FFmpeg guesses it, from the bit rate or the container's length.
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_AVI_UNKNOWN_BYTES = frozenset({0, (1 << 32) - 1})
# Each frame, an empty one included, is a chunk with a header.
_AVI_CHUNK_BYTES = 8


def promised_end_s(stream: VideoStream, facts: VideoFacts, file: BinaryIO, *, file_bytes: int) -> float | None:
    """Where the stream itself says that it ends, in seconds from the first frame; ``None``: it does not say."""
    time_base = time_base_of(stream)
    if facts.container.startswith("matroska"):
        end_s = _matroska_duration_s(stream)
        return None if end_s is None else end_s - float((facts.origin_pts or 0) * time_base)
    if facts.container == MP4:
        layout = read_layout(file, track_id=stream.id, file_bytes=file_bytes)
        if layout.is_fragmented and layout.indexed_s is not None:
            return float(layout.indexed_s)
        if layout.is_fragmented:
            return _listed_end_s(stream, facts) if is_last_frame_cut(stream, file_bytes=file_bytes) else None
        ticks = stream.duration
    elif facts.container == "avi":
        ticks = _avi_ticks(stream, file, file_bytes=file_bytes)
    else:
        return None
    if ticks is None:
        return None
    end_s = float(((stream.start_time or 0) + ticks) * time_base)
    return end_s - float((facts.origin_pts or 0) * time_base)


def is_last_frame_cut(stream: VideoStream, *, file_bytes: int) -> bool:
    """Whether the last frame that an MP4 lists, as far as it was demuxed, lies past the end of the file."""
    entries = stream.index_entries
    if not len(entries):
        return False
    last = entries[len(entries) - 1]
    return last.pos + last.size > file_bytes


def _listed_end_s(stream: VideoStream, facts: VideoFacts) -> float:
    """How long all frames last that an MP4 lists."""
    entries = stream.index_entries
    span = entries[len(entries) - 1].timestamp - entries[0].timestamp
    return float(span * time_base_of(stream) + 1 / facts.frame_rate_hz)


def _matroska_duration_s(stream: VideoStream) -> float | None:
    """The track's own duration, which Matroska counts from zero."""
    tag = next((value for name, value in stream.metadata.items() if name.upper() == "DURATION"), "")
    match = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,12})?)", tag, re.ASCII)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _avi_ticks(stream: VideoStream, file: BinaryIO, *, file_bytes: int) -> int | None:
    """The length in an AVI's header; ``None`` where it cannot be. The file is left where it stood.

    A writer that cannot come back to the header leaves 2^30 frames there and no length of the file. FFmpeg's own
    duration says nothing: it shrinks with the file.
    """
    stood_at = file.tell()
    file.seek(4)
    riff_bytes = int.from_bytes(file.read(4), "little")
    file.seek(stood_at)
    is_possible = stream.frames * _AVI_CHUNK_BYTES <= max(riff_bytes, file_bytes)
    return stream.frames if is_possible and riff_bytes not in _AVI_UNKNOWN_BYTES else None


def marked_truncated(
    segments: Sequence[Segment], footage: Footage, promised_s: float | None, time_range: TimeRange, *, is_cut: bool
) -> tuple[Segment, ...]:
    """The segments; the last one says what is missing after it, within the requested range.

    Args:
        segments: those of the video.
        footage: the video as it is.
        promised_s: where the stream says that it ends, in seconds from the first frame.
        time_range: the requested part.
        is_cut: frames are known to lie past the end of the file.
    """
    end_s = float(footage.end_s)
    promised_s = end_s if promised_s is None else promised_s
    is_short = promised_s - end_s > max(1.0, 0.02 * promised_s)
    is_requested = time_range.end is None or time_range.end > footage.end_s
    if not segments or not is_requested or not (is_cut or is_short):
        return tuple(segments)
    requested_end_s = promised_s if time_range.end is None else min(promised_s, float(time_range.end))
    return (*segments[:-1], replace(segments[-1], missing_start_s=end_s, end_s=max(requested_end_s, end_s)))
