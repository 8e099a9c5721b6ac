"""The examples of a lake: labelled, in parts, and read anew as often as a head is to see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.video_features import LakeFeatures
from pipeline.records.periods import Period
from pipeline.records.units import Unit, Units
from pipeline.training.examples import PARTS, VideoExamples
from pipeline.training.labels.label_rows import LabelRows
from pipeline.training.labels.labelled_videos import LabelledVideos
from pipeline.training.labels.parts import Parts, parts_of
from pipeline.training.labels.report import LabelReport
from pipeline.training.labels.survey import Survey, survey
from pipeline.training.request import LabelOptions, SplitOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeExamples:
    """Labels of a lake whose parts are known. Calling it reads them: it is an ``Examples``."""

    videos: LabelledVideos
    survey: Survey
    parts: Parts

    @classmethod
    def of(
        cls,
        lake: LakeFeatures,
        rows: LabelRows,
        *,
        options: LabelOptions,
        split: SplitOptions,
        unit: Unit,
        period: Period,
        classes: tuple[str, ...] | None = None,
        finds_twins: bool = True,
    ) -> Self:
        """Find the units of labels in a lake, and their parts.

        Args:
            lake: whose features.
            rows: the labels, as ``read_labels`` gives them.
            options: by which they were read.
            split: how parts are drawn, where the labels do not say.
            unit: what gets a label.
            period: units beyond it are left out.
            classes: the labels that there may be, in their order; ``None``: those that there are.
            finds_twins: whether videos that show the same are looked for, by their features, where parts are drawn.

        Raises:
            UsageError: the labels match nothing, contradict each other, or are not among ``classes``.
            StorageError: a store failed.
        """
        videos = LabelledVideos.of(lake, rows, unit=unit, is_multi_label=options.is_multi_label, period=period)
        found = videos.rows.labels
        if classes is not None and not set(found) <= set(classes):
            odd = ", ".join(sorted(set(found) - set(classes))[:5])
            raise UsageError(f"{videos.rows.source}: the head knows no {odd}; its labels are {', '.join(classes)}")
        counted = survey(videos, labels=classes or found, finds_twins=finds_twins and not videos.rows.has_parts)
        parts = parts_of(counted, split, has_parts=videos.rows.has_parts, group=options.group)
        return cls(videos=videos, survey=counted, parts=parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of targets."""
        return self.survey.labels

    @property
    def report(self) -> LabelReport:
        """What is said of them."""
        return LabelReport.of(self.videos, self.survey, self.parts)

    def num_units(self, part: str) -> int:
        """Units of a part."""
        return int(self.survey.units_of[self.parts.parts == PARTS.index(part)].sum())

    def __call__(self) -> Iterator[VideoExamples]:
        """Read the labelled videos, always in the same order. Raises ``StorageError`` where a store fails."""
        return self._read(self.videos.ids)

    def times(self) -> Iterator[VideoExamples]:
        """As calling it, without the features: vectors of no values."""
        return self._read(self.videos.ids, with_features=False)

    def of_part(self, part: str) -> Iterator[VideoExamples]:
        """Of the same, the videos that have a unit in a part, with all of their units."""
        is_in_it = (self.parts.parts == PARTS.index(part)) & (self.survey.units_of > 0)
        numbers = {self.survey.holdings[at].video for at in np.flatnonzero(is_in_it).tolist()}
        return self._read(self.videos.ids[sorted(numbers)])

    def _read(self, ids: NDArray[np.bytes_], *, with_features: bool = True) -> Iterator[VideoExamples]:
        number_of = {label: number for number, label in enumerate(self.labels)}
        for video in self.videos.lake.read(ids, with_features=with_features):
            units, labelled = self.videos.units_of(video)
            if not len(labelled.places):
                continue
            rows = self.videos.rows_of(video.video_id)
            numbers = np.array([number_of[row.label] for row in rows], np.int64)
            holdings = self.survey.first_of[video.video_id] + labelled.first_rows()
            yield VideoExamples(
                video_id=video.video_id,
                uri=video.uri,
                samples=video.samples,
                features=video.features,
                units=_some(units, labelled.places),
                targets=labelled.targets(numbers, num_labels=len(self.labels)),
                parts=self.parts.parts[holdings],
                groups=self.parts.groups[holdings],
            )


def _some(units: Units, places: NDArray[np.int64]) -> Units:
    return Units(
        begin=units.begin[places], end=units.end[places], time_s=units.time_s[places], end_s=units.end_s[places]
    )
