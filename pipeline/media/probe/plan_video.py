"""Look at one video and plan its segments, without decoding more than its first pictures (in the decoder process)."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from typing import BinaryIO

from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Corrupt
from pipeline.media.container import PacketReader, Undecodable, best_stream, decode, open_container, time_base_of
from pipeline.media.probe.cuts import START, choose_cuts, segments_between
from pipeline.media.probe.keyframe_trial import Prover
from pipeline.media.probe.packet_index import PacketIndex, read_header_index
from pipeline.media.sampling.footage import Footage
from pipeline.media.sampling.pickers import allowance_of
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import Segment, Sizing, TimeRange, VideoFacts, VideoPlan

_DEFAULT_RATE_HZ = Fraction(25)
_HEAD_FRAMES = 4
_HEAD_PACKETS = 10_000
# A clock that claims more is wrong, and its frames are counted instead.
_LONGEST_S = 10**9
# Elsewhere FFmpeg guesses a stream's duration, from the bit rate or from the container's.
_CONTAINERS_WITH_DURATION = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi"})
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


def plan_video(file: BinaryIO, request: PlanRequest) -> VideoPlan:
    """Probe a video and cut it into segments.

    An MP4 tells its frames in the header; of the others every packet is read, and none decoded but the first few and
    one at each cut, which proves that decoding can start there.

    Raises:
        InputError: the whole video is unusable, and why.
    """
    container = open_container(file, uri=request.uri, max_pixels=request.max_pixels)
    stream = best_stream(container, uri=request.uri, max_pixels=request.max_pixels)
    packets = iter(PacketReader(container, stream))
    index = PacketIndex(has_pts=True)
    head = _Head.read(packets, index, stream.codec_context, uri=request.uri)
    header = read_header_index(stream, file_bytes=request.size_bytes)
    num_lost = 0 if header is None else header.num_lost
    if header is None or request.rule.needs_pts or not head.is_ordered or not header.num_frames:
        for packet in packets:
            index.add(packet)
    else:
        index = header
    facts = _facts(container, stream, head, index)
    footage = _footage(facts, index)
    promised_s = _promised_end_s(stream, facts)
    cuts = [START]
    if not facts.is_sequential:
        container.close()
        with Prover(file, uri=request.uri, max_pixels=request.max_pixels, footage=footage) as prover:
            cuts = choose_cuts(
                index.keyframes(), footage=footage, rule=request.rule, sizing=request.sizing, prove=prover.prove
            )
    segments = segments_between(
        cuts, footage=footage, rule=request.rule, sizing=request.sizing, time_range=request.time_range
    )
    marked = _marked_truncated(segments, footage, promised_s, request.time_range, is_cut=num_lost > 0)
    return VideoPlan(facts=facts, segments=marked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What the first packets of a stream decode to."""

    frames: list[VideoFrame]
    is_ordered: bool
    """Whether the frames come out as their packets' pts say."""
    is_timed: bool
    """Whether the frames' own pts exist and increase."""

    @classmethod
    def read(
        cls, packets: "Iterator[Packet[VideoStream]]", index: PacketIndex, codec: VideoCodecContext, *, uri: str
    ) -> "_Head":
        """Decode until a few frames came out; every packet that this takes is counted into ``index``.

        Raises:
            Corrupt: none does.
        """
        promised: list[int] = []
        has_untimed = False
        frames: list[VideoFrame] = []
        complaint = "no packet decodes"
        for packet in chain(islice(packets, _HEAD_PACKETS), [None]):
            if packet is not None:
                index.add(packet)
                has_untimed = has_untimed or packet.pts is None
                promised += [] if packet.is_discard or packet.pts is None else [packet.pts]
            try:
                frames += decode(codec, packet)
            except Undecodable as error:
                complaint = str(error)
            if len(frames) >= _HEAD_FRAMES:
                break
        if not frames:
            raise Corrupt(uri, f"nothing decodes: {complaint}")
        shown = [frame.pts for frame in frames]
        # What comes before the first frame refers to pictures that are not there: a recording that was joined late.
        promised = [pts for pts in sorted(promised) if shown[0] is not None and pts >= shown[0]]
        return cls(
            frames=frames,
            is_ordered=not has_untimed and shown == promised[: len(shown)],
            is_timed=_is_increasing(shown),
        )


def _is_increasing(stamps: "list[int | None]") -> bool:
    known = [pts for pts in stamps if pts is not None]
    return len(known) == len(stamps) and known == sorted(set(known))


def _facts(container: InputContainer, stream: VideoStream, head: _Head, index: PacketIndex) -> VideoFacts:
    time_base = time_base_of(stream)
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or _DEFAULT_RATE_HZ
    rate = rate if rate > 0 else _DEFAULT_RATE_HZ
    name = container.format.name
    first = head.frames[0]
    is_trusted = head.is_ordered and index.is_trustworthy(time_base=time_base, container=name)
    if is_trusted:
        end = _end_of(index, origin_pts=first.pts or 0, rate=rate, time_base=time_base)
    else:
        end = index.span(time_base=time_base, container=name) * time_base + 1 / rate
    is_sane = end < _LONGEST_S
    is_trusted = is_trusted and is_sane
    is_counted = not is_trusted and not (head.is_timed and is_sane)
    if is_counted:
        end = max(1, index.num_frames) / rate
    return VideoFacts(
        stream_index=stream.index,
        time_base=1 / rate if is_counted else time_base,
        origin_pts=None if is_counted else first.pts,
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


def _end_of(index: PacketIndex, *, origin_pts: int, rate: Fraction, time_base: Fraction) -> Fraction:
    """Seconds from the first frame to the last one's end."""
    if index.last_end is not None:
        return max(index.last_end - origin_pts, 0) * time_base or 1 / rate
    # The header's index knows when frames are decoded; they are shown at the same pace.
    return (index.dts[-1] - index.dts[0]) * time_base + 1 / rate


def _footage(facts: VideoFacts, index: PacketIndex) -> Footage:
    num_frames = max(1, index.num_frames)
    positions: Sequence[int] = index.ordered_pts() if index.has_pts else array("q")
    origin_pts, time_base = facts.origin_pts or 0, facts.time_base
    if facts.is_sequential:
        positions, origin_pts, time_base = range(num_frames), 0, 1 / facts.frame_rate_hz
    return Footage(
        is_sequential=facts.is_sequential,
        is_timed=not facts.is_sequential or facts.origin_pts is None,
        num_frames=num_frames,
        origin_pts=origin_pts,
        time_base=time_base,
        allowance_s=allowance_of(facts.time_base),
        end_s=Fraction(facts.duration_s),
        positions=positions[bisect_left(positions, origin_pts) :],
        ticks=index.ticks(origin_pts=origin_pts),
        keyframes=index.keys,
        keyframe_positions=index.keyframes().ordered_pts(),
        cost_per_frame_s=max(1, facts.width * facts.height) * _COST_PER_PIXEL_S * _CODEC_COSTS.get(facts.codec, 1.0),
    )


def _promised_end_s(stream: VideoStream, facts: VideoFacts) -> float | None:
    """Where the stream itself says that it ends, in seconds from the first frame; ``None``: it does not say."""
    time_base = time_base_of(stream)
    if facts.container.startswith("matroska"):
        tag = next((value for name, value in stream.metadata.items() if name.upper() == "DURATION"), "")
        found = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,12})?)", tag, re.ASCII)
        if found is None:
            return None
        hours, minutes, seconds = found.groups()
        end_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    elif stream.duration is not None and facts.container in _CONTAINERS_WITH_DURATION:
        end_s = float(((stream.start_time or 0) + stream.duration) * time_base)
    else:
        return None
    return end_s - float((facts.origin_pts or 0) * time_base)


def _marked_truncated(
    segments: list[Segment], footage: Footage, promised_s: float | None, time_range: TimeRange, *, is_cut: bool
) -> tuple[Segment, ...]:
    """The last segment carries what is missing behind it, as far as it was asked for."""
    end_s = float(footage.end_s)
    promised_s = end_s if promised_s is None else promised_s
    is_short = promised_s - end_s > max(1.0, 0.02 * promised_s)
    is_asked_for = time_range.end is None or time_range.end > footage.end_s
    if not segments or not is_asked_for or not (is_cut or is_short):
        return tuple(segments)
    end_s_asked = promised_s if time_range.end is None else min(promised_s, float(time_range.end))
    return (*segments[:-1], replace(segments[-1], missing_start_s=end_s, end_s=max(end_s_asked, end_s)))
