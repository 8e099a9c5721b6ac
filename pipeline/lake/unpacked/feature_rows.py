"""Rows of features as plain arrays: their vectors, when they are shown, and to which segments they belong."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32 | np.float16]

RUN = np.dtype(
    [
        ("video_id", "S20"),
        ("segment", np.int32),
        ("epoch", np.int32),
        ("uri", np.int32),
        ("reserved", np.int32),
        ("first", np.int64),
        ("count", np.int64),
    ]
)
"""Rows of one segment and epoch that follow each other: ``first`` and how many; ``uri`` is a number of ``uris``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uris:
    """Texts in one array of bytes, so that a million of them take no more than their characters."""

    ends: NDArray[np.int64]
    """Where each ends; it begins where the one before ends."""
    text: NDArray[np.uint8]
    """UTF-8"""

    def __getitem__(self, number: int) -> str:
        begin = int(self.ends[number - 1]) if number else 0
        return self.text[begin : int(self.ends[number])].tobytes().decode(errors="replace")

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of(cls, uris: list[str]) -> Self:
        """Those of a list."""
        encoded = [uri.encode() for uri in uris]
        ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
        return cls(ends=ends, text=np.frombuffer(b"".join(encoded), np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRows:
    """The rows of one features file, or a part of them, N in the order of the file."""

    vectors: Vectors
    """``[N, D]`` as stored; ``[N, 0]`` where they are read elsewhere."""
    scales: NDArray[np.float32]
    """``float32[N]``: one by the length of each vector; 0 where it has none, or is not finite."""
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    """Where each row ends: of a window, when its last sample is shown; of a sample, its own time."""
    captured_s: NDArray[np.float64]
    """When each was captured, where the file itself says so, in seconds since the Unix epoch; else NaN."""
    runs: NDArray[np.void]
    """``RUN[R]``"""
    uris: Uris

    def __len__(self) -> int:
        return len(self.pts)

    def runs_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the runs that rows belong to."""
        runs: NDArray[np.int64] = np.searchsorted(self.runs["first"], rows, side="right") - 1
        return runs

    def floats(self, begin: int, end: int) -> NDArray[np.float32]:
        """``float32[end - begin, D]``: a view where they are stored so."""
        floats: NDArray[np.float32] = self.vectors[begin:end].astype(np.float32, copy=False)
        return floats

    def part(self, rows: slice | NDArray[np.int64], *, runs: NDArray[np.void]) -> Self:
        """Some of the rows, which belong to ``runs``."""
        return replace(
            self,
            vectors=self.vectors[rows],
            scales=self.scales[rows],
            pts=self.pts[rows],
            times_s=self.times_s[rows],
            ends_s=self.ends_s[rows],
            captured_s=self.captured_s[rows],
            runs=runs,
        )


def no_rows() -> FeatureRows:
    """None at all."""
    floats = np.empty(0)
    return FeatureRows(
        vectors=np.empty((0, 0), np.float32),
        scales=np.empty(0, np.float32),
        pts=np.empty(0, np.int64),
        times_s=floats,
        ends_s=floats,
        captured_s=floats,
        runs=np.empty(0, RUN),
        uris=Uris.of([]),
    )


def some_runs(rows: FeatureRows, runs: NDArray[np.int64]) -> FeatureRows:
    """The rows of some of the runs, copied, in their order."""
    chosen = rows.runs[runs].copy()
    parts = [np.arange(run["first"], run["first"] + run["count"]) for run in chosen]
    at = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
    chosen["first"] = np.cumsum(chosen["count"]) - chosen["count"]
    return rows.part(at, runs=chosen)


def scales_of(vectors: Vectors) -> NDArray[np.float32]:
    """One by the length of each vector; 0 of one without length or with a number that is not finite."""
    floats = vectors.astype(np.float32, copy=False)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        lengths = np.sqrt(np.vecdot(floats, floats))
        scales: NDArray[np.float32] = (1 / lengths).astype(np.float32)
    scales[~(np.isfinite(lengths) & np.isfinite(scales))] = 0
    return scales


def joined_runs(parts: list[NDArray[np.void]]) -> NDArray[np.void]:
    """The runs of parts of a file that follow each other; one that goes on in the next part is one."""
    runs = np.concatenate([np.empty(0, RUN), *parts])
    if not len(runs):
        return runs
    names = ("video_id", "segment", "epoch", "uri")
    goes_on = np.logical_and.reduce([runs[name][1:] == runs[name][:-1] for name in names])
    begins = np.flatnonzero(np.append(True, ~goes_on))
    counts = np.add.reduceat(runs["count"], begins)
    joined = runs[begins]
    joined["count"] = counts
    return joined
