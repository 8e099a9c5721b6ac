"""Which units of a video a label holds: those all of whose samples lie within its range."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.records.units import Units, VideoSamples
from pipeline.training.examples import PARTS
from pipeline.training.labels.label_rows import LabelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledUnits:
    """The labelled units of a video, K of them, and M pairs of one of them and a row that holds it."""

    places: NDArray[np.int64]
    """``int64[K]``: which of the video's units they are, in their order."""
    unit: NDArray[np.int64]
    """``int64[M]``: a place in ``places``; not decreasing."""
    row: NDArray[np.int64]
    """``int64[M]``: a place among the rows of the video; increasing for each unit."""
    is_labelled: NDArray[np.bool_]
    """``bool[T]``: which samples of the video a row holds."""

    def first_rows(self) -> NDArray[np.int64]:
        """``int64[K]``: the first row that holds each unit, by which it is grouped."""
        return self.row[np.searchsorted(self.unit, np.arange(len(self.places)))]

    def targets(self, labels: NDArray[np.int64], *, num_labels: int) -> NDArray[np.float32]:
        """``float32[K, num_labels]``: 1 for each label of a unit; ``labels``: the number of each row's label."""
        targets = np.zeros((len(self.places), num_labels), np.float32)
        targets[self.unit, labels[self.row]] = 1
        return targets

    def of(self, wanted: NDArray[np.bool_]) -> "LabelledUnits":
        """Those of its K units that are ``wanted``."""
        kept = wanted[self.unit]
        return LabelledUnits(
            places=self.places[wanted],
            unit=(np.cumsum(wanted) - 1)[self.unit[kept]],
            row=self.row[kept],
            is_labelled=self.is_labelled,
        )


def label_units(
    samples: VideoSamples,
    units: Units,
    rows: Sequence[LabelRow],
    *,
    is_multi_label: bool,
    video: str,
    captured_s: NDArray[np.float64] | None = None,
) -> LabelledUnits:
    """Find the rows that hold each unit of a video; units without one are left out.

    Args:
        samples: of the video.
        units: all of them.
        rows: the labels of the video.
        is_multi_label: whether a unit may have several labels.
        video: its uri, for messages.
        captured_s: when each sample was captured; without it no row that says when is of the video.

    Raises:
        UsageError: a unit has two different labels but may not, or its rows send it to different parts.
    """
    times = samples.times_s
    is_labelled = np.zeros(len(samples), np.bool_)
    firsts, lasts = (times[units.begin], times[units.end - 1]) if len(units) else (times[:0], times[:0])
    pairs = []
    for at, row in enumerate(rows):
        begin, end = np.searchsorted(times, [row.start_s, row.end_s])
        held = np.arange(np.searchsorted(firsts, row.start_s), np.searchsorted(lasts, row.end_s), dtype=np.int64)
        if row.captured.is_open:
            is_labelled[begin:end] = True
        else:
            is_inside = row.captured.holds(np.full(len(samples), np.nan) if captured_s is None else captured_s)
            is_labelled[begin:end] |= is_inside[begin:end]
            held = held[is_inside[units.begin[held]] & is_inside[units.end[held] - 1]]
        pairs.append(np.stack([held, np.full(len(held), at, np.int64)], axis=1))
    table = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    places, unit = np.unique(table[:, 0], return_inverse=True)
    labelled = LabelledUnits(
        places=places,
        unit=unit.reshape(-1),
        row=table[:, 1],
        is_labelled=is_labelled,
    )
    _check_parts(labelled, units, rows, video=video)
    if not is_multi_label:
        _check_labels(labelled, units, rows, video=video)
    return labelled


def _check_labels(labelled: LabelledUnits, units: Units, rows: Sequence[LabelRow], *, video: str) -> None:
    at = _first_difference(labelled, [row.label for row in rows])
    if at is not None:
        one, other = rows[labelled.row[at]], rows[labelled.row[at + 1]]
        raise UsageError(
            f"{video} at {units.time_s[labelled.places[labelled.unit[at]]]:g} s has two labels, {one.label} (row "
            f"{one.row}) and {other.label} (row {other.row}): mend the ranges, or add --multi-label"
        )


def _check_parts(labelled: LabelledUnits, units: Units, rows: Sequence[LabelRow], *, video: str) -> None:
    at = _first_difference(labelled, [row.part or PARTS[0] for row in rows])
    if at is not None:
        one, other = rows[labelled.row[at]], rows[labelled.row[at + 1]]
        raise UsageError(
            f"{video} at {units.time_s[labelled.places[labelled.unit[at]]]:g} s is in {one.part} (row {one.row}) and "
            f"in {other.part} (row {other.row}): mend the column split"
        )


def _first_difference(labelled: LabelledUnits, values: Sequence[str]) -> int | None:
    """The first pair whose unit has another value in the next pair."""
    number = np.unique(values, return_inverse=True)[1].reshape(-1)[labelled.row] if len(values) else labelled.row
    differs = (labelled.unit[:-1] == labelled.unit[1:]) & (number[:-1] != number[1:])
    return int(differs.argmax()) if differs.any() else None
