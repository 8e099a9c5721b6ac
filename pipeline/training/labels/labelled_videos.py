"""The videos of a lake and their labels, read as often as needed: all that is held is which rows are whose."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.appended import schema_of
from pipeline.lake.known_videos import video_parts
from pipeline.lake.video_features import LakeFeatures
from pipeline.lake.video_groups import VideoFeatures
from pipeline.records.ids import ID_BYTES, Ids, find_places
from pipeline.records.periods import Period
from pipeline.records.tables import VIDEOS
from pipeline.records.units import Unit, Units
from pipeline.training.labels.label_rows import LabelRow, LabelRows, labels_of_videos, read_label_file
from pipeline.training.labels.matching import Matches, match_videos
from pipeline.training.labels.targets import LabelledUnits, label_units
from pipeline.training.request import LabelOptions

_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledVideos:
    """The current videos of a lake that have samples, and the labels that are of one of them."""

    lake: LakeFeatures
    rows: LabelRows
    matches: Matches
    ids: NDArray[np.bytes_]
    """Of the labelled ones, in the order of reading."""
    unit: Unit
    is_multi_label: bool
    period: Period

    @classmethod
    def of(cls, lake: LakeFeatures, rows: LabelRows, *, unit: Unit, is_multi_label: bool, period: Period) -> Self:
        """Find the videos of labels.

        Raises:
            UsageError: they match nothing, or a file's name fits two videos.
            StorageError: a store failed.
        """
        streams = streams_of(lake) if any(row.stream is not None for row in rows.rows) else {}
        matches = match_videos(rows.rows, current_videos(lake), streams=streams)
        if not matches.rows_of:
            raise UsageError(f"{rows.source}: no row matches a video of {lake.uri}: {named(rows, matches)}")
        labelled = np.unique(np.array(list(matches.rows_of), f"S{ID_BYTES}"))
        return cls(
            lake=lake,
            rows=rows,
            matches=matches,
            ids=lake.ids[find_places(labelled, lake.ids) >= 0],
            unit=unit,
            is_multi_label=is_multi_label,
            period=period,
        )

    def rows_of(self, video_id: str) -> tuple[LabelRow, ...]:
        """The labels of a video, in the order of the file."""
        return tuple(self.rows.rows[at] for at in self.matches.rows_of[video_id])

    def units_of(self, video: VideoFeatures) -> tuple[Units, LabelledUnits]:
        """The units of a labelled video, and those of them that have a label and lie in the period.

        Raises:
            UsageError: a unit has two labels but may not, or belongs to two parts.
        """
        samples = video.samples
        units = self.unit.of(samples)
        labelled = label_units(
            samples,
            units,
            self.rows_of(video.video_id),
            is_multi_label=self.is_multi_label,
            video=video.uri,
            captured_s=video.captured_s,
        )
        if self.period.is_open:
            return units, labelled
        is_inside = self.period.holds(video.captured_s)
        first, last = units.begin[labelled.places], units.end[labelled.places] - 1
        return units, labelled.of(is_inside[first] & is_inside[last])


def read_labels(lake: LakeFeatures, options: LabelOptions) -> LabelRows:
    """The label file's rows or, without one, those of the lake's own table ``videos``.

    Raises:
        UsageError: they cannot be read, lack a column, or hold a bad value.
        StorageError: a store failed.
    """
    if options.file is not None:
        return read_label_file(options.file, options)
    files = lake.datasets[0].files
    there = {name for table in files.tables(VIDEOS.name) for name in schema_of(files, table).names}
    wanted = ["video_id", options.column, "split", *([options.group] if options.group else [])]
    columns = [name for name in dict.fromkeys(wanted) if name in there]
    rows = (
        row
        for part in video_parts(files, [*columns, "is_current"])
        for row in part.filter(pc.fill_null(part["is_current"], True)).to_pylist()
    )
    return labels_of_videos(rows, options, columns=columns, uri=lake.uri)


def current_videos(lake: LakeFeatures) -> Iterator[tuple[str, str]]:
    """(id, uri) of every current video, also of those that have no samples; one that ``videos`` lacks is current."""
    known = Ids()
    for part in video_parts(lake.datasets[0].files, ["video_id", "uri", "is_current"]):
        for row in part.to_pylist():
            known.add(row["video_id"])
            if row["is_current"] is not False:
                yield row["video_id"], row["uri"]
    for video in lake.read(lake.ids[~_among(known, lake.ids)], with_features=False):
        yield video.video_id, video.uri


def streams_of(lake: LakeFeatures) -> dict[str, str]:
    """The stream of every video that is a session of one, by its id."""
    streams: dict[str, str] = {}
    for part in video_parts(lake.datasets[0].files, ["video_id", "stream"]):
        sessions = part.filter(pc.is_valid(part["stream"]))
        streams.update(zip(sessions["video_id"].to_pylist(), sessions["stream"].to_pylist(), strict=True))
    return streams


def named(rows: LabelRows, matches: Matches) -> str:
    """The first rows that match nothing, by what they say."""
    texts = [f"{rows.rows[at].shown} (row {rows.rows[at].row})" for at in matches.unmatched[:_NAMED]]
    return ", ".join(texts) + (" ..." if len(matches.unmatched) > _NAMED else "")


def _among(known: Ids, ids: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    return known.find(ids) >= 0
