"""The loop of a live decoder: packets in, frames and a recording out, until the stream is over."""

import gc
import heapq
import time
from collections.abc import Iterator
from fractions import Fraction

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import TooLarge
from pipeline.media.container import time_base_of
from pipeline.media.decode.pixels import Painter
from pipeline.media.live.access_units import AccessUnits
from pipeline.media.live.frame_clock import JUMP_S, FrameClock, Look, Pace, Stamp
from pipeline.media.live.messages import (
    Event,
    FrameCame,
    LiveRequest,
    PacketsCome,
    PartRecorded,
    SessionBegan,
    written,
)
from pipeline.media.live.packet_clock import PacketClock, is_unknown
from pipeline.media.live.pictures import LumaScaler, PicturePlaces
from pipeline.media.live.recorder import Recorder
from pipeline.media.live_source import UNNAMED, LiveSource
from pipeline.media.packets import PacketReader, Undecodable, decode
from pipeline.media.process.wire import Channel

_DEFAULT_RATE_HZ = Fraction(25)
_PACKETS_A_COLLECTION = 500
_SILENCE_S = 1.0


class Outlet:
    """Where the decoder's parent hears of things."""

    def __init__(self, control: Channel, places: PicturePlaces) -> None:
        self._control = control
        self.places = places

    def send(self, event: Event) -> None:
        """Tell the parent, which always listens."""
        self._control.send(written(event))


class Player:
    """Plays one opened stream."""

    def __init__(self, source: LiveSource, request: LiveRequest, outlet: Outlet, pace: Pace) -> None:
        """Start before its first packet; ``pace`` goes on from the stream that was played before it."""
        self._source = source
        self._request = request
        self._outlet = outlet
        self._pace = None if source.is_live else pace
        self._codec = source.stream.codec_context
        self._rate_hz = source.stream.average_rate or source.stream.guessed_rate or _DEFAULT_RATE_HZ
        self._packet_clock = PacketClock(
            time_base=time_base_of(source.stream),
            frame_rate_hz=self._rate_hz,
            is_live=source.is_live,
            has_pts=source.has_pts,
        )
        self._frame_clock: FrameClock | None = None
        self._made_pts: list[int] = []
        self._latest_pts = 0
        self._has_drained = False
        self._unplaced: list[tuple[int, VideoFrame]] = []
        self._join = Join()
        self._recorder = (
            Recorder(source.stream, time_base=lambda: self._packet_clock.time_base, file_s=request.recording_file_s)
            if request.is_recording
            else None
        )
        self._painter, self._luma = Painter(), LumaScaler()
        self._arrived_s = self._arrived_at = 0.0
        self._told_s = time.monotonic()
        self.num_frames = 0

    def play(self) -> str | None:
        """Until the stream ends; what the demuxer complained of last, if it did."""
        reader = PacketReader(self._source.container, self._source.stream, uri=UNNAMED)
        units = AccessUnits(
            reader,
            codec=self._codec.codec.canonical_name,
            container=self._source.container.format.name,
            rate_hz=self._rate_hz,
        )
        for place, (packet, headers) in enumerate(units):
            self._arrived_s, self._arrived_at = time.monotonic(), time.time()
            pts = self._packet_clock.stamp(packet.pts, duration=packet.duration or 0, arrived_s=self._arrived_s)
            self._take(packet, pts, headers)
            if self._arrived_s - self._told_s > _SILENCE_S:
                self._told_s = self._arrived_s
                self._outlet.send(PacketsCome())
            if place % _PACKETS_A_COLLECTION == 0:
                gc.collect()  # PyAV's objects come in reference cycles, with a picture's memory in each
        self._drain()
        return reader.damage

    def _take(self, packet: "Packet[VideoStream]", pts: int, headers: bytes | None) -> None:
        if not self._join.admits(pts, is_keyframe=packet.is_keyframe):
            return
        if packet.is_keyframe and self.num_frames and (headers is not None or self._breaks_off(pts)):
            self._drain()  # a keyframe needs nothing that comes before it
            self._codec.flush_buffers()
            self._has_drained = True
        if headers is not None and self._recorder is not None:
            self._recorder.use_headers(headers)
        self._latest_pts = max(pts, self._latest_pts) if self.num_frames else pts
        packet.pts = pts
        if self._packet_clock.makes_pts:
            heapq.heappush(self._made_pts, pts)
        if self._recorder is not None:  # before its frame is shown: then a row never lacks its recording
            self._send(self._recorder.add(bytes(packet), pts=pts, is_keyframe=packet.is_keyframe))
        self._show(packet)

    def _breaks_off(self, pts: int) -> bool:
        """Whether the clock has jumped at a keyframe: what was decoded before is of another recording."""
        ahead = (pts - self._latest_pts) * self._packet_clock.time_base
        return ahead < 0 or ahead > JUMP_S

    def _drain(self) -> None:
        """What the decoder still holds is shown, and the recording of it handed over."""
        self._show(None)
        self._place(is_last=True)
        self._cut()

    def _cut(self) -> None:
        if self._recorder is not None:
            self._send(self._recorder.cut())

    def _send(self, parts: Iterator[PartRecorded]) -> None:
        for part in parts:
            self._outlet.send(part)

    def _show(self, packet: "Packet[VideoStream] | None") -> None:
        try:
            frames = decode(self._codec, packet)
        except Undecodable:
            return  # cameras lose packets; the slots tell of it
        for frame in frames:
            claim = heapq.heappop(self._made_pts) if self._made_pts else frame.pts
            if claim is not None:
                self._unplaced.append((claim, frame))
                self._place(is_last=False)

    def _place(self, *, is_last: bool) -> None:
        """Show the frames at hand; those whose pts is not known only once two others tell how far frames are apart."""
        known = [claim for claim, _ in self._unplaced if not is_unknown(claim)]
        num_unknown = len(self._unplaced) - len(known)
        if num_unknown and len(known) < 2 and not is_last:
            return
        step = max(1, known[1] - known[0]) if len(known) > 1 else self._packet_clock.frame_ticks
        first = (known[0] if known else num_unknown * step) - num_unknown * step
        unknown = (claim for claim, _ in self._unplaced if is_unknown(claim))
        placed = {claim: first + place * step for place, claim in enumerate(unknown)}
        if self._recorder is not None and placed:
            self._recorder.place(placed)
        unplaced, self._unplaced = self._unplaced, []
        for claim, frame in unplaced:
            self._show_frame(frame, placed.get(claim, claim))

    def _show_frame(self, frame: VideoFrame, claim: int) -> None:
        if frame.width * frame.height > self._request.max_pixels:
            raise TooLarge(UNNAMED, f"a frame of {frame.width} x {frame.height} is more than is allowed")
        if self._frame_clock is None:
            self._frame_clock = FrameClock(
                time_base=self._packet_clock.time_base,
                rate_hz=self._request.rate_hz,
                detect_rate_hz=self._request.detect_rate_hz,
                is_live=self._source.is_live,
                why=self._source.why,
            )
        stamp = self._frame_clock.stamp(claim, self._look_of(frame), arrived_s=self._arrived_s)
        if stamp.begins is not None:
            self._begin_session(frame, stamp)
        self.num_frames += 1
        self._has_drained = False
        if self._recorder is not None:
            self._recorder.show(stamp.pts)
        self._outlet.send(self._told_of(frame, stamp, arrived_at=self._await_turn(stamp)))
        self._told_s = time.monotonic()

    def _begin_session(self, frame: VideoFrame, stamp: Stamp) -> None:
        if self.num_frames and not self._has_drained and self._recorder is not None:
            self._send(self._recorder.cut(in_gop=True))
        self._outlet.send(
            SessionBegan(
                codec=self._codec.codec.canonical_name,
                container=self._source.container.format.name,
                time_base=self._packet_clock.time_base,
                start_pts=stamp.pts,
                width=frame.width,
                height=frame.height,
                rotation=round(frame.rotation / 90) * 90 % 360,
                pix_fmt=frame.format.name,
                why=stamp.begins or "",
            )
        )
        if self._recorder is not None:
            self._send(self._recorder.begin_session(stamp.pts))

    def _told_of(self, frame: VideoFrame, stamp: Stamp, *, arrived_at: float) -> FrameCame:
        luma = self._luma.scaled(frame, self._painter)
        is_wanted = stamp.slot is not None or stamp.detect
        painted = self._outlet.places.painted(frame, self._painter) if is_wanted else None
        return FrameCame(
            pts=stamp.pts,
            time_s=stamp.time_s,
            is_keyframe=bool(frame.key_frame),
            is_corrupt=bool(frame.is_corrupt),
            arrived_at=arrived_at,
            luma=luma.tobytes(),
            luma_shape=(luma.shape[0], luma.shape[1]),
            slot=stamp.slot,
            detect=stamp.detect,
            place=None if painted is None else painted[0],
            picture_shape=None if painted is None else painted[1],
        )

    def _look_of(self, frame: VideoFrame) -> Look:
        return Look(
            width=frame.width,
            height=frame.height,
            pix_fmt=frame.format.name,
            rotation=round(frame.rotation / 90) * 90 % 360,
            rate_hz=self._codec.framerate or None,
        )

    def _await_turn(self, stamp: Stamp) -> float:
        """Wait until the frame is due, where the stream does not come at its own pace; the wall clock then."""
        if self._pace is None:
            return self._arrived_at
        now_s = time.monotonic()
        due_s = self._pace.due_s(float(stamp.time_s), now_s=now_s, is_first=stamp.begins is not None)
        if due_s > now_s:
            time.sleep(due_s - now_s)
        return time.time()


class Join:
    """Passes over what cannot be decoded because it was sent before the first keyframe, or refers to it."""

    def __init__(self) -> None:
        self._key_pts: int | None = None
        self._is_past_leading = False

    def admits(self, pts: int, *, is_keyframe: bool) -> bool:
        """Whether a packet, in decoding order, can be decoded."""
        if self._key_pts is None:
            if is_keyframe:
                self._key_pts = pts
            return is_keyframe
        self._is_past_leading = self._is_past_leading or pts > self._key_pts
        return self._is_past_leading or pts == self._key_pts
