"""Which packets go into which file and fragment, so that each file decodes by itself to the frames that were shown."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, takewhile
from statistics import median_low

from av.video.stream import VideoStream

from pipeline.media.live.fragments import FragmentMuxer, KeptPacket, NotRecordable, decoding_times
from pipeline.media.live.messages import PartRecorded

_FRAGMENT_S = 1
# Of no codec does a packet wait for more others before its frame is shown.
_LOOKAHEAD = 16


class Recorder:
    """Keeps the packets of one stream until they fill a fragment.

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
        self._origin_pts: int | None = None
        self._file_start_pts: int | None = None
        self._last_decoding: int | None = None
        self._is_first = False
        self._headers: bytes | None = None
        self.complaint: str | None = None
        """Why nothing is recorded, if so."""

    def begin_session(self, origin_pts: int) -> None:
        """Times count from this pts on; call it after ``cut``."""
        self._origin_pts = origin_pts

    def use_headers(self, headers: bytes) -> None:
        """The codec's headers, with which the next file begins."""
        self._headers = headers

    def add(self, data: bytes, *, pts: int, is_keyframe: bool) -> Iterator[PartRecorded]:
        """The next packet; what it completes is handed over once the session's first frame is known."""
        if self.complaint is not None or (self._muxer is None and not is_keyframe):
            return
        if self._muxer is None:
            self._begin_file()
        self._kept.append(KeptPacket(data, pts, is_keyframe))
        while self._origin_pts is not None and (cut := self._next_cut()):
            yield from self._cut_off(cut)
            yield from self._perhaps_another_file()

    def cut(self) -> Iterator[PartRecorded]:
        """The file is over; the next keyframe begins another one."""
        if self._kept and self._origin_pts is not None:
            yield from self._cut_off(len(self._kept))
        self._kept.clear()
        self._muxer = None

    def place(self, placed: Mapping[int, int]) -> None:
        """The pts that became known of packets which had stand-ins."""
        self._kept = [replace(kept, pts=placed.get(kept.pts, kept.pts)) for kept in self._kept]

    def _begin_file(self) -> None:
        self._muxer = FragmentMuxer(self._template, time_base=self._time_base_of, headers=self._headers)
        self._file_start_pts = None
        self._last_decoding = None
        self._is_first = True

    def _next_cut(self) -> int:
        """How many of the kept packets make the next fragment; 0: it is not complete."""
        time_base = self._time_base_of()
        for place in range(1, len(self._kept) - _LOOKAHEAD):
            span = abs(self._kept[place].pts - self._kept[0].pts) * time_base
            if self._kept[place].is_keyframe or span >= _FRAGMENT_S:
                return place
        return 0

    def _cut_off(self, num_packets: int) -> Iterator[PartRecorded]:
        time_base = self._time_base_of()
        if self._muxer is None or self._origin_pts is None:
            raise AssertionError("packets are kept once a file has begun")
        decoding = decoding_times([kept.pts for kept in self._kept])
        packets, self._kept = self._kept[:num_packets], self._kept[num_packets:]
        if self._last_decoding is not None and decoding[0] <= self._last_decoding:
            self._give_up_file()  # pts fell back in a way that no reordering explains
            return
        stamps = sorted(kept.pts for kept in packets)
        step = median_low([b - a for a, b in pairwise(stamps)] or [1])
        duration = decoding[num_packets] - decoding[num_packets - 1] if self._kept else max(1, step)
        try:
            data = self._muxer.fragment(packets, decoding[:num_packets], duration=duration)
        except NotRecordable as error:
            self.complaint = str(error)
            self._give_up_file()
            return
        self._last_decoding = decoding[num_packets - 1]
        if self._file_start_pts is None:
            self._file_start_pts = packets[0].pts
        yield PartRecorded(
            data=data,
            is_first=self._is_first,
            start_time_s=float((stamps[0] - self._origin_pts) * time_base),
            end_time_s=float((stamps[-1] + max(1, step) - self._origin_pts) * time_base),
        )
        self._is_first = False

    def _perhaps_another_file(self) -> Iterator[PartRecorded]:
        if not self._kept or self._file_start_pts is None:
            return
        first, *following = self._kept
        is_due = (first.pts - self._file_start_pts) * self._time_base_of() >= self._file_s
        num_leading = sum(1 for _ in takewhile(lambda kept: kept.pts < first.pts, following))
        is_clean = all(kept.pts > first.pts for kept in following[num_leading:])
        if is_due and first.is_keyframe and is_clean:
            if num_leading:
                yield from self._cut_off(1 + num_leading)
                self._kept.insert(0, first)
            self._begin_file()

    def _give_up_file(self) -> None:
        self._kept.clear()
        self._muxer = None
