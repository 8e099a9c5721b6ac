"""Which packets go into which file, so that each file decodes by itself to the frames that were shown."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

from av.video.stream import VideoStream

from pipeline.media.live.fragments import FragmentMuxer, KeptPacket, NotRecordable
from pipeline.media.live.messages import PartRecorded
from pipeline.media.live.packet_clock import is_unknown

_LARGEST_BYTES = 64 << 20
"""Of a file: a writer to a bucket holds it in memory."""

_NUM_RECENT = 17
_MOST_LEADING = 64


class Recorder:
    """Hands over each packet as a fragment of its own, at once: whatever is killed, what was shown is recorded.

    A file begins with a keyframe. Where packets that follow it show frames before it (open GOPs), they refer to what is
    in the file before, and would decode to other pixels than they did live: they go there, and the keyframe into both.
    """

    def __init__(self, template: VideoStream, *, time_base: Callable[[], Fraction], file_s: float) -> None:
        """Record a stream whose time base is known once it has packets; begin another file after ``file_s``."""
        self._template = template
        self._time_base_of = time_base
        self._file_s = file_s
        self._muxer: FragmentMuxer | None = None
        self._kept: list[KeptPacket] = []
        self._gop: list[KeptPacket] = []
        self._origin_pts: int | None = None
        self._file_start_pts: int | None = None
        self._num_bytes = 0
        self._shown_pts: int | None = None
        self._last_decoding: int | None = None
        self._recent: deque[int] = deque(maxlen=_NUM_RECENT)
        self._given: deque[int] = deque(maxlen=_MOST_LEADING)
        self._is_first = False
        self._headers: bytes | None = None
        self.complaint: str | None = None
        """Why nothing is recorded, if so."""

    def begin_session(self, origin_pts: int) -> Iterator[PartRecorded]:
        """Times count from this pts on; call it after ``cut``. What was kept until now is handed over."""
        self._origin_pts = origin_pts
        if self._muxer is None and self._gop:  # its first packets were known before it was
            self._kept = self._gop[:]
            self._begin_file()
        yield from self._hand_over()

    def use_headers(self, headers: bytes) -> None:
        """The codec's headers, with which the next file begins."""
        self._headers = headers

    def add(self, data: bytes, *, pts: int, is_keyframe: bool) -> Iterator[PartRecorded]:
        """The next packet, before its frame is shown; it is handed over once the session's first frame is known."""
        if self.complaint is not None or (self._muxer is None and not is_keyframe):
            self._gop.clear()
            return
        if self._muxer is None:
            self._begin_file()
        kept = KeptPacket(data, self._distinct(pts), is_keyframe, self._shown_pts)
        self._kept.append(kept)
        if is_keyframe:
            self._gop.clear()
        self._gop.append(kept)
        yield from self._hand_over()

    def show(self, pts: int) -> None:
        """A frame was shown: those of all later packets are shown after it."""
        self._shown_pts = pts

    def cut(self, *, in_gop: bool = False) -> Iterator[PartRecorded]:
        """The file is over; the next keyframe begins another one, or with ``in_gop`` the one that came last."""
        yield from self._hand_over(is_last=True)
        self._kept.clear()
        if not in_gop:
            self._gop.clear()
        self._muxer = None
        self._shown_pts = None
        self._recent.clear()
        self._given.clear()

    def place(self, placed: Mapping[int, int]) -> None:
        """The pts that became known of packets which had stand-ins."""
        self._kept = [replace(kept, pts=placed.get(kept.pts, kept.pts)) for kept in self._kept]
        self._gop = [replace(kept, pts=placed.get(kept.pts, kept.pts)) for kept in self._gop]

    def _distinct(self, pts: int) -> int:
        """The pts, or a tick further where another packet has it: as ``FrameClock`` stamps frames."""
        while pts in self._given:
            pts += 1
        self._given.append(pts)
        return pts

    def _begin_file(self) -> None:
        self._muxer = FragmentMuxer(self._template, time_base=self._time_base_of, headers=self._headers)
        self._file_start_pts = None
        self._last_decoding = None
        self._num_bytes = 0
        self._is_first = True

    def _hand_over(self, *, is_last: bool = False) -> Iterator[PartRecorded]:
        while self._kept and self._origin_pts is not None and not is_unknown(self._kept[0].pts):
            if self._is_due(self._kept[0]):
                num_leading = self._num_leading(is_last=is_last)
                if num_leading is None:
                    return
                across, self._kept[1 : 1 + num_leading] = self._kept[: 1 + num_leading], []
                for kept in across if num_leading else ():
                    yield from self._fragment(kept)
                self._begin_file()
            yield from self._fragment(self._kept.pop(0))

    def _is_due(self, packet: KeptPacket) -> bool:
        if not packet.is_keyframe or self._file_start_pts is None:
            return False
        is_long = (packet.pts - self._file_start_pts) * self._time_base_of() >= self._file_s
        return is_long or self._num_bytes >= _LARGEST_BYTES

    def _num_leading(self, *, is_last: bool) -> int | None:
        """How many packets lead the keyframe at hand; ``None``: the first one behind it has not come."""
        first, *following = self._kept
        for num_leading, kept in enumerate(following):
            if kept.pts > first.pts:
                return num_leading
        is_over = is_last or len(following) > _MOST_LEADING
        return len(following) if is_over else None

    def _fragment(self, kept: KeptPacket) -> Iterator[PartRecorded]:
        if self._muxer is None or self._origin_pts is None:
            return
        decoding = self._decoding_time(kept)
        if decoding is None:
            self._muxer = None  # the next keyframe begins another file
            return
        self._recent.append(kept.pts)
        step = self._step()
        try:
            data = self._muxer.fragment([kept], [decoding], duration=step)
        except NotRecordable as error:
            self.complaint = str(error)
            self._muxer = None
            return
        self._last_decoding = decoding
        self._num_bytes += len(data)
        if self._file_start_pts is None:
            self._file_start_pts = kept.pts
        time_base = self._time_base_of()
        yield PartRecorded(
            data=data,
            is_first=self._is_first,
            start_time_s=float((kept.pts - self._origin_pts) * time_base),
            end_time_s=float((kept.pts + step - self._origin_pts) * time_base),
        )
        self._is_first = False

    def _decoding_time(self, kept: KeptPacket) -> int | None:
        """A time that no picture behind the packet is shown before; ``None``: its own pts has fallen back.

        What a camera says of decoding times is of no use: RTSP has none, and files with B-frames begin below zero,
        which a fragment cannot say. No decoder looks at them.
        """
        if self._last_decoding is None:
            return kept.pts
        earliest = self._last_decoding + 1
        decoding = earliest if kept.shown_pts is None else max(earliest, kept.shown_pts)
        return decoding if decoding <= kept.pts else None

    def _step(self) -> int:
        """How long frames are shown: as they come, once there are enough that are not in order."""
        rate_hz = self._template.average_rate or self._template.guessed_rate
        if rate_hz and len(self._recent) < _NUM_RECENT:
            return max(1, round(1 / rate_hz / self._time_base_of()))
        steps = [b - a for a, b in pairwise(sorted(self._recent))]
        return max(1, median_low(steps)) if steps else 1
