"""Look at one video and plan its segments, without decoding more than its first pictures (in the decoder process)."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.media.container import best_stream, open_container, time_base_of
from pipeline.media.packets import PacketReader
from pipeline.media.probe.cuts import START, Cut, choose_cuts, segments_between
from pipeline.media.probe.head import Head
from pipeline.media.probe.keyframe_trial import Prover
from pipeline.media.probe.packet_index import PacketIndex, read_header_index
from pipeline.media.probe.truncation import MP4, is_last_frame_cut, marked_truncated, promised_end_s
from pipeline.media.probe.window_cuts import counted_by_windows, segments_of_windows
from pipeline.media.sampling.footage import Footage
from pipeline.media.sampling.pickers import allowance_of
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import Segment, Sizing, TimeRange, VideoFacts, VideoPlan
from pipeline.records.windows import Windows

_DEFAULT_RATE_HZ = Fraction(25)
# A clock that claims more is wrong, and its frames are counted instead.
_LONGEST_S = 10**9
# Seconds to decode and convert one pixel on one core, x264 at 720p; others relative to it. Ratios are what matters.
_COST_PER_PIXEL_S = 3e-9
_CODEC_COSTS = {"hevc": 1.6, "vp9": 1.2, "libdav1d": 1.6, "av1": 1.6, "prores": 1.5, "mpeg4": 0.5, "mpeg2video": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What to plan a video for."""

    uri: str
    size_bytes: int
    rule: SamplingRule
    time_range: TimeRange
    sizing: Sizing
    max_pixels: int
    windows: Windows | None = None


def plan_video(file: BinaryIO, request: PlanRequest) -> VideoPlan:
    """Probe a video and cut it into segments.

    An MP4 tells its frames in the header; of the others every packet is read, and none decoded but the first few and
    one at each cut, which proves that decoding can start there.

    Raises:
        InputError: the whole video is unusable, and why.
    """
    container = open_container(file, uri=request.uri, max_pixels=request.max_pixels)
    stream = best_stream(container, uri=request.uri, max_pixels=request.max_pixels)
    reader = PacketReader(container, stream, uri=request.uri)
    index = PacketIndex(has_pts=True)
    head = Head.read(reader, index, stream.codec_context, container=container.format.name, uri=request.uri)
    header = read_header_index(stream, file_bytes=request.size_bytes)
    is_enough = header is not None and header.num_frames and head.is_ordered and reader.state.is_in_header
    needs_pts = request.rule.needs_pts or request.windows is not None
    if header is None or needs_pts or not is_enough:
        for packet in reader:
            index.add(packet, is_complete=reader.lesson.is_complete)
    else:
        index = header
    facts = _facts(container, stream, head, index)
    is_one_clock = head.is_ordered and index.is_one_clock(time_base=facts.time_base, container=facts.container)
    footage = _footage(facts, index, is_one_clock=is_one_clock)
    promised_s = promised_end_s(stream, facts, file, file_bytes=request.size_bytes)
    is_cut = _is_cut(stream, facts, header, file_bytes=request.size_bytes)
    cuts = [START]
    if not facts.is_sequential:
        container.close()
        with Prover(file, uri=request.uri, max_pixels=request.max_pixels, footage=footage) as prover:
            cuts = choose_cuts(
                index.cut_candidates(), footage=footage, rule=request.rule, sizing=request.sizing, prove=prover.prove
            )
    segments = _segments(cuts, request, footage=footage)
    marked = marked_truncated(segments, footage, promised_s, request.time_range, is_cut=is_cut)
    return VideoPlan(facts=facts, segments=marked)


def _segments(cuts: Sequence[Cut], request: PlanRequest, *, footage: Footage) -> list[Segment]:
    rule, sizing, time_range = request.rule, request.sizing, request.time_range
    if request.windows is None:
        return segments_between(cuts, footage=footage, rule=rule, sizing=sizing, time_range=time_range)
    samples = rule.samples(footage, time_range)
    if samples is not None:
        return segments_of_windows(
            cuts, footage=footage, samples=samples, windows=request.windows, max_samples=sizing.max_samples
        )
    segments = segments_between(cuts, footage=footage, rule=rule, sizing=sizing, time_range=time_range)
    return counted_by_windows(segments, windows=request.windows)


def _is_cut(stream: VideoStream, facts: VideoFacts, header: PacketIndex | None, *, file_bytes: int) -> bool:
    """Whether frames that an MP4 lists lie past the end of the file."""
    if header is not None:
        return header.num_lost > 0
    return facts.container == MP4 and is_last_frame_cut(stream, file_bytes=file_bytes)


def _facts(container: InputContainer, stream: VideoStream, head: Head, index: PacketIndex) -> VideoFacts:
    time_base = time_base_of(stream)
    name = container.format.name
    rate = _frame_rate_hz(stream, index, container=name)
    first = head.frames[0]
    is_one_clock = head.is_ordered and index.is_one_clock(time_base=time_base, container=name)
    if is_one_clock:
        end = _end_of(index, origin_pts=first.pts or 0, rate=rate, time_base=time_base, container=name)
    else:
        end = index.span(time_base=time_base, container=name) * time_base + 1 / rate
    is_sane = end < _LONGEST_S
    is_trusted = is_one_clock and index.has_distinct_pts() and is_sane
    is_counted = not is_trusted and not (head.has_pts and is_sane)
    if is_counted:
        end = max(1, index.num_frames) / rate
    return VideoFacts(
        stream_index=stream.index,
        time_base=1 / rate if is_counted else time_base,
        origin_pts=None if is_counted else head.origin_pts(frame_duration=1 / rate / time_base),
        start_pts=stream.start_time,
        is_sequential=not is_trusted,
        frame_rate_hz=rate,
        container=name,
        codec=stream.codec_context.codec.canonical_name,
        pix_fmt=first.format.name,
        width=first.width,
        height=first.height,
        rotation=round(first.rotation / 90) * 90 % 360,
        duration_s=float(end),
        creation_time=container.metadata.get("creation_time") or stream.metadata.get("creation_time"),
    )


def _frame_rate_hz(stream: VideoStream, index: PacketIndex, *, container: str) -> Fraction:
    """The average rate: what the frames do in AVI, whose header says how fast it ticks; elsewhere the header's."""
    span = index.span(time_base=time_base_of(stream), container=container)
    if container == "avi" and span:
        return (index.num_frames - 1) / (span * time_base_of(stream))
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or _DEFAULT_RATE_HZ
    return rate if rate > 0 else _DEFAULT_RATE_HZ


def _end_of(index: PacketIndex, *, origin_pts: int, rate: Fraction, time_base: Fraction, container: str) -> Fraction:
    """Seconds from the first frame to the last one's end."""
    if container == "avi":  # each frame is given a tick of the header, however long it lasts
        return index.span(time_base=time_base, container=container) * time_base + 1 / rate
    if index.last_end is not None:
        return max(index.last_end - origin_pts, 0) * time_base or 1 / rate
    # The header's index knows when frames are decoded; they are shown at the same pace.
    return (index.dts[-1] - index.dts[0]) * time_base + 1 / rate


def _footage(facts: VideoFacts, index: PacketIndex, *, is_one_clock: bool) -> Footage:
    num_frames = max(1, index.num_frames)
    ticks = index.ticks(origin_pts=facts.origin_pts or 0)
    positions: Sequence[int] = index.ordered_pts() if index.has_pts else array("q")
    origin_pts, time_base = facts.origin_pts or 0, facts.time_base
    if facts.is_sequential:
        positions, origin_pts, time_base = range(num_frames), 0, 1 / facts.frame_rate_hz
        ticks = ticks[ticks >= 0] if is_one_clock and facts.origin_pts is not None else ticks[:0]
    return Footage(
        is_sequential=facts.is_sequential,
        is_timed=not facts.is_sequential or facts.origin_pts is None,
        num_frames=num_frames,
        origin_pts=origin_pts,
        time_base=time_base,
        allowance_s=allowance_of(facts.time_base),
        end_s=Fraction(facts.duration_s),
        positions=positions[bisect_left(positions, origin_pts) :],
        ticks=ticks,
        keyframes=index.keys,
        keyframe_positions=index.keyframes().ordered_pts(),
        cost_per_frame_s=max(1, facts.width * facts.height) * _COST_PER_PIXEL_S * _CODEC_COSTS.get(facts.codec, 1.0),
    )
