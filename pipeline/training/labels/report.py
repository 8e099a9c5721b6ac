"""What is said of labels before anything is learned: what matched, what has no label, and what each part holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.errors import UsageError
from pipeline.records.documents import Document
from pipeline.training.examples import PARTS
from pipeline.training.labels.labelled_videos import LabelledVideos, named
from pipeline.training.labels.parts import Parts, SplitBy
from pipeline.training.labels.survey import Survey

_SAID_OF: Mapping[SplitBy, str] = {
    "split column": "the parts are those of the column split",
    "column": "split by the groups of the column that --group names",
    "video": "split by video",
    "range": "all labels are of one video: each labelled range is a group of the split",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCount:
    """What one part has of one label."""

    videos: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """The report: also what ``--json`` holds of it."""

    source: str
    unit: str
    num_rows: int
    num_unmatched: int
    first_unmatched: str
    """The first five of them, in words; empty: there are none."""
    num_without_samples: int
    """Labelled videos of the lake that have no samples."""
    num_unlabelled: int
    classes: Mapping[str, Mapping[str, PartCount]]
    by: SplitBy
    num_groups: int
    num_twins: int
    """Videos that show what another labelled one shows."""
    num_torn: int
    """Groups of which several parts have units: the column split may have it so."""

    @classmethod
    def of(cls, videos: LabelledVideos, survey: Survey, parts: Parts) -> Self:
        """That of labels whose parts are known."""
        return cls(
            source=videos.rows.source,
            unit=str(videos.unit),
            num_rows=len(videos.rows.rows),
            num_unmatched=len(videos.matches.unmatched),
            first_unmatched=named(videos.rows, videos.matches),
            num_without_samples=len(videos.matches.rows_of) - len(videos.ids),
            num_unlabelled=survey.num_unlabelled,
            classes=_classes(survey, parts),
            by=parts.by,
            num_groups=parts.num_groups,
            num_twins=len({other for _, other in survey.twins}),
            num_torn=_num_torn(survey, parts),
        )

    def num_units(self, part: str) -> int:
        """Labels of units in a part: units, unless they have several labels each."""
        return sum(of[part].units for of in self.classes.values())

    def check(self) -> None:
        """Make sure that every class can be learned.

        Raises:
            UsageError: one has no unit in training.
        """
        lacking = [label for label, of in self.classes.items() if not of["train"].units]
        if lacking:
            whose = "class" if len(lacking) == 1 else "classes"
            raise UsageError(
                f"{self.source}: no {self.unit} for training of the {whose} {', '.join(lacking[:20])}: label more, "
                "or mend the column split"
            )

    def lines(self) -> list[str]:
        """The report in words."""
        lines = [f"{self.source}: {self.num_rows} rows, {self.num_rows - self.num_unmatched} matched"]
        if self.num_unmatched:
            lines.append(f"{self.num_unmatched} rows match nothing: {self.first_unmatched}")
        if self.num_without_samples:
            lines.append(f"{self.num_without_samples} labelled videos have no samples")
        lines.append(f"{self.num_unlabelled} samples have no label")
        twins = f"; {self.num_twins} videos show the same as another one and go with it" if self.num_twins else ""
        lines.append(f"{_SAID_OF[self.by]} ({self.num_groups} groups{twins})")
        return [*lines, *self._table()]

    def warnings(self) -> list[str]:
        """What a user should know of the parts."""
        texts = []
        if self.num_torn:
            texts.append(f"warning: {self.num_torn} groups of units that belong together are in several parts")
        for part in PARTS[1:]:
            absent = [label for label, of in self.classes.items() if not of[part].units]
            if len(absent) == len(self.classes):
                texts.append(_WITHOUT[part])
            elif absent:
                texts.append(f"warning: no {part} unit of {', '.join(absent[:20])}")
        return texts

    def to_json(self) -> Document:
        """What ``--json`` holds of it."""
        return {
            "labels": {
                "rows": self.num_rows,
                "matched": self.num_rows - self.num_unmatched,
                "unmatched": self.num_unmatched,
                "first_unmatched": self.first_unmatched,
                "videos_without_samples": self.num_without_samples,
            },
            "unlabelled": self.num_unlabelled,
            "split": {"by": self.by, "groups": self.num_groups, "twins": self.num_twins, "torn": self.num_torn},
            "classes": {
                label: {part: {"videos": count.videos, "units": count.units} for part, count in of.items()}
                for label, of in self.classes.items()
            },
            "warnings": self.warnings(),
        }

    def _table(self) -> list[str]:
        width = max(len("class"), *map(len, self.classes))
        head = f"{'class':<{width}}" + "".join(f"  {part:>24}" for part in PARTS)
        rows = [
            f"{label:<{width}}" + "".join(f"  {f'{of[part].units} in {of[part].videos} videos':>24}" for part in PARTS)
            for label, of in self.classes.items()
        ]
        return [head, *rows]


_WITHOUT = {
    "validation": "there is no validation part: no early stopping, and no temperature",
    "test": "there is no test part: nothing is measured on units that training has not seen",
}


def _num_torn(survey: Survey, parts: Parts) -> int:
    used = survey.units_of > 0
    pairs = np.unique(np.stack([parts.groups[used], parts.parts[used].astype(np.int64)], axis=1), axis=0)
    return int((np.unique(pairs[:, 0], return_counts=True)[1] > 1).sum())


def _classes(survey: Survey, parts: Parts) -> dict[str, dict[str, PartCount]]:
    owner = np.array([holding.video for holding in survey.holdings], np.int64)[survey.holding]
    part = parts.parts[survey.holding].astype(np.int64)
    cells = survey.label * len(PARTS) + part
    size = len(survey.labels) * len(PARTS)
    units = np.bincount(cells, survey.num_units, minlength=size).astype(np.int64)
    seen = np.unique(np.stack([cells, owner], axis=1), axis=0)
    videos = np.bincount(seen[:, 0], minlength=size)
    counts = [PartCount(videos=v, units=u) for v, u in zip(videos.tolist(), units.tolist(), strict=True)]
    return {
        label: dict(zip(PARTS, counts[at * len(PARTS) : (at + 1) * len(PARTS)], strict=True))
        for at, label in enumerate(survey.labels)
    }
