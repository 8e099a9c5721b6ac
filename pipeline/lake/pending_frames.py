"""The frames of a dataset that a head has still to be asked about, features file by features file.

A segment is done once a predictions file lists it with its attempt, whichever features file its rows lie in by now.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.lake.dataset_videos import UnsettledSegments, VideosOfDataset
from pipeline.lake.ledger import Ledger
from pipeline.lake.placed_rows import PlacedRows, ReadRows, read_placed
from pipeline.records.ids import ID_BYTES, ids_of_keys, segments_of_keys
from pipeline.records.periods import Period
from pipeline.records.settled import Settled

_READERS = 16
_SEGMENTS_AT_ONCE = 100_000
_PIECES_AT_ONCE = 1_000
_UNKNOWN = np.nan
_STRAY_S = 3600.0
"""How far a stream's clock may stray from the one by which its rows were captured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePiece:
    """Segments of one features file, N of them in the order of their rows, whose frames are to be predicted."""

    name: str
    """The file."""
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    keys: NDArray[np.bytes_]
    """As ``ids.segment_keys`` gives them."""
    attempts: NDArray[np.int32]
    is_followed: NDArray[np.bool_]
    """Whether the next segment here is the one that comes next in the video: its first frame ends the last of this."""
    next_s: NDArray[np.float64]
    """Otherwise, when the frame after its last one is shown; NaN: its last one is the last of its video."""
    video_end_s: NDArray[np.float64]
    """Where the video ends; NaN: not known."""
    before_s: NDArray[np.float64]
    """When the frame before a segment of a single frame, the last of its video, is shown; NaN elsewhere."""

    @property
    def num_samples(self) -> int:
        """How many frames they are."""
        return int(self.count.sum())

    @property
    def placed(self) -> PlacedRows:
        """Where the frames lie."""
        file = np.zeros(len(self.first), np.int32)
        return PlacedRows(names=(self.name,), file=file, first=self.first, count=self.count)

    @property
    def video_ids(self) -> list[str]:
        """Of each segment."""
        ids: list[str] = ids_of_keys(self.keys).astype(f"U{ID_BYTES}").tolist()
        return ids

    def entries(self) -> list[Settled]:
        """What a file of their predictions settles."""
        segments = segments_of_keys(self.keys).tolist()
        values = zip(self.video_ids, segments, self.attempts.tolist(), self.count.tolist(), strict=True)
        return [
            Settled.complete(video_id, segment, attempts=attempts, num_samples=num_samples)
            for video_id, segment, attempts, num_samples in values
        ]


class PendingFrames:
    """The segments of a dataset with frames to predict.

    Attributes:
        num_frames: in all of them.
        num_videos: that they belong to.
        num_undated: videos that are left out of a period, for nobody knows when they were recorded.
    """

    def __init__(self, dataset: Dataset, videos: VideosOfDataset, predicted: Ledger, *, period: Period) -> None:
        """Those of current videos that no predictions file lists, and that have a moment in the period."""
        self._dataset = dataset
        self._videos = videos
        catalogue, ledger = videos.catalogue, videos.ledger
        self._with_rows = np.flatnonzero(ledger.num_samples > 0)
        self._owner = np.searchsorted(videos.ends, self._with_rows, side="right")
        at = predicted.find(ledger.keys[self._with_rows])
        is_done = at >= 0
        is_done[is_done] = predicted.attempts[at[is_done]] >= ledger.attempts[self._with_rows[is_done]]
        is_current = videos.known.are_current(videos.ids)[self._owner]
        pending = np.flatnonzero(~is_done & is_current)
        recorded_s = videos.known.recorded_of(videos.ids)[self._owner[pending]]
        self._dated_s = videos.known.dated_of(videos.ids)
        self.num_undated = 0
        if not period.is_open:
            self.num_undated = len(np.unique(self._owner[pending][np.isnan(recorded_s)]))
            pending = self._within(pending, recorded_s, period)
        places = self._with_rows[pending]
        order = np.lexsort((catalogue.first[places], catalogue.file[places]))
        self._pending = pending[order]
        self.num_frames = int(catalogue.num_rows(places).sum())
        self.num_videos = len(np.unique(self._owner[pending]))

    def pieces(self, *, piece_rows: int) -> Iterator[list[FramePiece]]:
        """All of them in pieces of about ``piece_rows`` frames; a bounded number of pieces and segments at a time."""
        catalogue = self._videos.catalogue
        places = self._with_rows[self._pending]
        counts, file = catalogue.num_rows(places), catalogue.file[places]
        before = np.cumsum(counts) - counts
        is_new_file = np.append(True, file[1:] != file[:-1])[: len(file)]
        since = before - np.repeat(before[is_new_file], np.diff(np.append(np.flatnonzero(is_new_file), len(file))))
        chunk = since // piece_rows
        is_new = is_new_file.copy()
        is_new[1:] |= chunk[1:] != chunk[:-1]
        edges = np.append(np.flatnonzero(is_new), len(places))
        unsettled = UnsettledSegments.of(self._dataset, self._videos.ledger)
        begin = 0
        while begin < len(edges) - 1:
            most = int(np.searchsorted(edges, edges[begin] + _SEGMENTS_AT_ONCE, side="right")) - 1
            end = max(begin + 1, min(most, begin + _PIECES_AT_ONCE))
            yield self._looked_into(edges[begin : end + 1], unsettled)
            begin = end

    def _looked_into(self, edges: NDArray[np.int64], unsettled: UnsettledSegments) -> list[FramePiece]:
        pending = self._pending[edges[0] : edges[-1]]
        places, videos = self._with_rows[pending], self._videos
        following = self._neighbour(pending, 1)
        is_last_of_piece = np.isin(np.arange(edges[0], edges[-1]), edges[1:] - 1)
        is_followed = ~is_last_of_piece & (np.append(pending[1:], -1) == following)
        planned_s = self._planned_next(pending, following, unsettled)
        is_followed &= np.isnan(planned_s)
        next_s = np.where(np.isnan(planned_s), _UNKNOWN, planned_s)
        elsewhere = (following >= 0) & ~is_followed & np.isnan(planned_s)
        next_s[elsewhere] = self._times(self._with_rows[following[elsewhere]], is_last=False)
        preceding = self._neighbour(pending, -1)
        is_alone = (following < 0) & np.isnan(planned_s) & (preceding >= 0) & (videos.ledger.num_samples[places] == 1)
        before_s = np.full(len(pending), _UNKNOWN)
        before_s[is_alone] = self._times(self._with_rows[preceding[is_alone]], is_last=True)
        ends = videos.known.ends_of(videos.ids)[self._owner[pending]]
        return [
            FramePiece(
                name=videos.catalogue.names[videos.catalogue.file[places[part][0]]],
                first=videos.catalogue.first[places[part]],
                count=videos.catalogue.num_rows(places[part]),
                keys=videos.ledger.keys[places[part]],
                attempts=videos.ledger.attempts[places[part]],
                is_followed=is_followed[part],
                next_s=next_s[part],
                video_end_s=ends[part],
                before_s=before_s[part],
            )
            for part in (slice(b, e) for b, e in pairwise((edges - edges[0]).tolist()))
        ]

    def _neighbour(self, pending: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """The segment with rows that comes next in the video, or before, among ``_with_rows``; -1: there is none."""
        other = np.clip(pending + step, 0, len(self._with_rows) - 1)
        is_there = (other != pending) & (self._owner[other] == self._owner[pending])
        return np.where(is_there, other, -1)

    def _planned_next(
        self, pending: NDArray[np.int64], following: NDArray[np.int64], unsettled: UnsettledSegments
    ) -> NDArray[np.float64]:
        """When a segment begins that is planned between one and the next with rows, and not settled yet; else NaN."""
        starts = np.full(len(pending), _UNKNOWN)
        if not len(unsettled.keys):
            return starts
        keys = self._videos.ledger.keys
        mine = keys[self._with_rows[pending]]
        at = np.searchsorted(unsettled.keys, mine, side="right")
        there = np.minimum(at, len(unsettled.keys) - 1)
        is_next = (at < len(unsettled.keys)) & (ids_of_keys(unsettled.keys[there]) == ids_of_keys(mine))
        later = keys[self._with_rows[np.maximum(following, 0)]]
        is_next &= (following < 0) | (unsettled.keys[there] < later)
        starts[is_next] = unsettled.start_s[there[is_next]]
        return starts

    def _within(self, pending: NDArray[np.int64], recorded_s: NDArray[np.float64], period: Period) -> NDArray[np.int64]:
        """Those with a moment in the period: first by their videos, then by the times of their own frames."""
        ends_s = self._videos.known.ends_of(self._videos.ids)[self._owner[pending]]
        last_s = np.where(np.isnan(ends_s), np.inf, recorded_s + ends_s + _STRAY_S)
        is_near = period.touches(recorded_s - _STRAY_S, last_s)
        near = pending[is_near]
        firsts, lasts = (self._moments(near, is_last=is_last) for is_last in (False, True))
        return near[period.touches(firsts, lasts)]

    def _moments(self, pending: NDArray[np.int64], *, is_last: bool) -> NDArray[np.float64]:
        """When the first or the last frames of these segments were captured."""
        times_s, captured_s = self._read(self._with_rows[pending], is_last=is_last)
        dated_s = self._dated_s[self._owner[pending]]
        return np.where(np.isnan(dated_s), captured_s, dated_s + times_s)

    def _times(self, places: NDArray[np.int64], *, is_last: bool) -> NDArray[np.float64]:
        """When the first or the last frames of these segments are shown."""
        return self._read(places, is_last=is_last)[0]

    def _read(self, places: NDArray[np.int64], *, is_last: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """When the first or the last frames of these segments are shown, and when they were captured."""
        catalogue = self._videos.catalogue
        at = catalogue.first[places] + (catalogue.num_rows(places) - 1 if is_last else 0)
        times_s, captured_s = np.empty(len(places)), np.empty(len(places))
        order = np.lexsort((at, catalogue.file[places]))
        edges = np.flatnonzero(np.diff(catalogue.file[places[order]])) + 1
        parts = [part for part in np.split(order, edges) if len(part)]
        read = partial(_rows_in_file, self._dataset, catalogue.names, catalogue.file[places], at)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="times") as pool:
            for part, rows in zip(parts, pool.map(read, parts), strict=True):
                times_s[part], captured_s[part] = rows.times_s, rows.captured_s
        return times_s, captured_s


def _rows_in_file(
    dataset: Dataset,
    names: tuple[str, ...],
    file: NDArray[np.int32],
    rows: NDArray[np.int64],
    part: NDArray[np.int64],
) -> ReadRows:
    zeros = np.zeros(len(part), np.int32)
    placed = PlacedRows(names=(names[file[part[0]]],), file=zeros, first=rows[part], count=zeros + np.int64(1))
    return read_placed(dataset.files, placed, dim=0)
