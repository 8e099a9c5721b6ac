"""What a dataset was made of, in hours by codec, container and size, and what failed in it."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_SPLITS = ("codec", "container", "size")
_MOST_KINDS = 20
"""Of codecs, containers or sizes that are named; the rest is told together."""
_UNKNOWN = "not known"
_REST = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How often something failed for a reason, and its first case."""

    reason: str
    count: int
    uri: str
    segment: int | None
    """``None``: the whole video."""
    start_s: float | None
    end_s: float | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFigures:
    """What the videos of a dataset are, and which of them failed."""

    hours_by: dict[str, dict[str, float]]
    """By ``codec``, ``container`` and ``size``; the most hours first."""
    source_bytes: int
    """Of the videos' files."""
    failures: tuple[Failure, ...]
    """The most frequent first."""


def archive_figures(tables: Iterable[tuple[pa.Table, pa.Table]]) -> ArchiveFigures:
    """The figures of ``VIDEOS`` and ``QUARANTINE`` rows, which come part by part."""
    hours: dict[str, dict[str, float]] = {split: {} for split in _SPLITS}
    failures: dict[str, Failure] = {}
    source_bytes = 0
    for videos, quarantine in tables:
        source_bytes += pc.sum(videos["size_bytes"]).as_py() or 0
        _add_hours(hours, videos)
        _add_failures(failures, quarantine)
    return ArchiveFigures(
        hours_by={split: _named(counted) for split, counted in hours.items()},
        source_bytes=source_bytes,
        failures=tuple(sorted(failures.values(), key=lambda each: (-each.count, each.reason))),
    )


def _add_hours(hours: dict[str, dict[str, float]], videos: pa.Table) -> None:
    sides = [pc.cast(videos[side], pa.string()) for side in ("width", "height")]
    keyed = pa.table(
        {
            "codec": videos["codec"],
            "container": videos["container"],
            "size": pc.binary_join_element_wise(*sides, " x "),
            "hours": pc.divide(pc.fill_null(videos["duration_s"], 0.0), 3600.0),
        }
    )
    for split in _SPLITS:
        for row in keyed.group_by(split).aggregate([("hours", "sum")]).to_pylist():
            if row["hours_sum"]:
                kind = row[split] or _UNKNOWN
                hours[split][kind] = hours[split].get(kind, 0.0) + row["hours_sum"]


def _add_failures(failures: dict[str, Failure], quarantine: pa.Table) -> None:
    for counted in pc.value_counts(quarantine["reason"]).to_pylist():
        reason, count = counted["values"], counted["counts"]
        known = failures.get(reason)
        if known is None:
            at = pc.index(quarantine["reason"], reason).as_py()
            row = quarantine.slice(at, 1).to_pylist()[0]
            first = {name: row[name] for name in ("uri", "segment", "start_s", "end_s", "detail")}
            failures[reason] = Failure(reason=reason, count=count, **first)
        else:
            first = {name: getattr(known, name) for name in ("uri", "segment", "start_s", "end_s", "detail")}
            failures[reason] = Failure(reason=reason, count=known.count + count, **first)


def _named(counted: dict[str, float]) -> dict[str, float]:
    ranked = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    rest = sum(hours for _, hours in ranked[_MOST_KINDS:])
    return dict(ranked[:_MOST_KINDS]) | ({_REST: rest} if rest else {})
