"""One pass over the labelled videos of a lake: how many units each label has where, and which videos show the same."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.video_features import LakeFeatures
from pipeline.lake.video_groups import VideoFeatures
from pipeline.records.ids import ID_BYTES, find_places
from pipeline.training.labels.groups import Holding
from pipeline.training.labels.labelled_videos import LabelledVideos
from pipeline.training.labels.targets import LabelledUnits
from pipeline.training.labels.twins import Sketches, Tolerance, are_twins


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the labels hold, by holdings: a row and one of its videos. A unit is counted at the first row that holds it.

    The arrays ``holding``, ``label`` and ``num_units`` are parallel.
    """

    holdings: Sequence[Holding]
    """In the order of reading; those of a video side by side, in the order of the label rows."""
    first_of: dict[str, int]
    """The place of the first holding of each video, by its id."""
    labels: tuple[str, ...]
    holding: NDArray[np.int64]
    label: NDArray[np.int64]
    """A place in ``labels``."""
    num_units: NDArray[np.int64]
    units_of: NDArray[np.int64]
    """``int64[len(holdings)]``: units of each holding, whatever their labels."""
    joined: tuple[tuple[int, int], ...]
    """Pairs of holdings that hold a unit in common."""
    twins: tuple[tuple[int, int], ...]
    """Pairs of videos, by the numbers that holdings give them."""
    num_unlabelled: int
    """Samples of the lake's current videos that no label holds."""


def survey(videos: LabelledVideos, *, labels: tuple[str, ...], finds_twins: bool) -> Survey:
    """Read the labelled videos once, with their features where twins are to be found.

    Raises:
        UsageError: a unit has two labels but may not, or belongs to two parts.
        StorageError: a store failed.
    """
    counting = _Counting(videos, labels=labels)
    tolerance = Tolerance.of([backbone.precision for backbone in videos.lake.backbones])
    sketches = Sketches(dim=videos.lake.dim, tolerance=tolerance)
    for number, video in enumerate(videos.lake.read(videos.ids, with_features=finds_twins)):
        _, labelled = videos.units_of(video)
        counting.add(number, video, labelled)
        if finds_twins and len(labelled.places):
            sketches.add(number, video.samples, video.features)
    return counting.survey(twins=_twins(videos, sketches, tolerance=tolerance) if finds_twins else ())


class _Counting:
    """Counts as they grow, a few bytes a holding."""

    def __init__(self, videos: LabelledVideos, *, labels: tuple[str, ...]) -> None:
        self._videos = videos
        self._labels = labels
        self._number_of = {label: number for number, label in enumerate(labels)}
        self._holdings: list[Holding] = []
        self._first_of: dict[str, int] = {}
        self._counts = array("q")
        self._units_of = array("q")
        self._joined: list[tuple[int, int]] = []
        self._num_unlabelled = 0

    def add(self, number: int, video: VideoFeatures, labelled: LabelledUnits) -> None:
        """Count the units of a video."""
        rows = self._videos.rows_of(video.video_id)
        first = self._first_of[video.video_id] = len(self._holdings)
        self._holdings += [Holding(video=number, row=row) for row in rows]
        owner = labelled.first_rows()
        self._units_of.frombytes(np.bincount(owner, minlength=len(rows)).astype(np.int64).tobytes())
        label_of_row = np.array([self._number_of[row.label] for row in rows], np.int64)
        # A unit that two rows give the same label counts once.
        pairs = np.unique(np.stack([labelled.unit, label_of_row[labelled.row]], axis=1), axis=0)
        cells, counts = np.unique(np.stack([owner[pairs[:, 0]], pairs[:, 1]], axis=1), axis=0, return_counts=True)
        self._counts.frombytes(np.column_stack([first + cells[:, 0], cells[:, 1], counts]).astype(np.int64).tobytes())
        held = np.unique(np.stack([owner[labelled.unit], labelled.row], axis=1), axis=0)
        self._joined += [(first + one, first + other) for one, other in held.tolist() if one != other]
        is_outside = ~labelled.is_labelled & self._videos.period.holds(video.captured_s)
        self._num_unlabelled += int(is_outside.sum())

    def survey(self, *, twins: tuple[tuple[int, int], ...]) -> Survey:
        """What was counted."""
        counts = np.array(self._counts, np.int64).reshape(-1, 3)
        return Survey(
            holdings=self._holdings,
            first_of=self._first_of,
            labels=self._labels,
            holding=counts[:, 0],
            label=counts[:, 1],
            num_units=counts[:, 2],
            units_of=np.array(self._units_of, np.int64),
            joined=tuple(self._joined),
            twins=twins,
            num_unlabelled=self._num_unlabelled + _num_samples_without_rows(self._videos),
        )


def _num_samples_without_rows(videos: LabelledVideos) -> int:
    """Samples of the current videos that no label row is of."""
    lake = videos.lake
    others = lake.ids[find_places(np.sort(videos.ids), lake.ids) < 0]
    if videos.period.is_open and len(lake.datasets) == 1:
        return int(lake.num_samples(others).sum())
    read = lake.read(others, with_features=False)
    return sum(int(videos.period.holds(video.captured_s).sum()) for video in read)


def _twins(videos: LabelledVideos, sketches: Sketches, *, tolerance: Tolerance) -> tuple[tuple[int, int], ...]:
    """The candidates that are twins indeed; of several that share a first one, that one is read once."""
    twins = []
    known: VideoFeatures | None = None
    known_number = -1
    for one, other in sketches.candidates():
        if known is None or one != known_number:
            known, known_number = _read(videos.lake, videos.ids[one]), one
        second = _read(videos.lake, videos.ids[other])
        if are_twins(known.samples, known.features, second.samples, second.features, tolerance=tolerance):
            twins.append((one, other))
    return tuple(twins)


def _read(lake: LakeFeatures, video_id: np.bytes_) -> VideoFeatures:
    return next(lake.read(np.array([video_id], f"S{ID_BYTES}")))
