"""The two real clips of which it is known what happens in them: their small luma, and the truth's boxes."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cameras.analysis.lighting import Luma
from pipeline.cameras.rules.happenings import Moment
from pipeline.records.geometry import Box, Detection

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
CARS, PEOPLE = "car-detection.mp4", "one-by-one-person-detection.mp4"
BEGAN = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)

CAR_TIMES = ((4.4, 9.0), (14.3, 19.3), (25.1, 27.8))
"""From the first to the last of them that is in view; two cars are in view together in the second."""

needs_truth = pytest.mark.skipif(not (MEDIA / "truth").is_dir(), reason="the clips with a truth are not here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    at: Moment
    luma: Luma


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox:
    track: int
    detection: Detection


def moment(time_s: float, *, pts: int | None = None) -> Moment:
    return Moment(
        pts=round(time_s * 1000) if pts is None else pts,
        time_s=time_s,
        captured_at=BEGAN + timedelta(seconds=time_s),
    )


@cache
def frames(clip: str, *, width: int = 160) -> tuple[Frame, ...]:
    return tuple(_decoded(MEDIA / "clips" / clip, width=width))


def _decoded(path: Path, *, width: int) -> Iterator[Frame]:
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        assert stream is not None
        first: int | None = None
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            assert frame.time_base is not None
            first = frame.pts if first is None else first
            small = frame.reformat(width, round(frame.height * width / frame.width), "gray", interpolation="AREA")
            at = moment(float((frame.pts - first) * frame.time_base), pts=frame.pts)
            yield Frame(at=at, luma=small.to_ndarray().astype(np.uint8))


@cache
def boxes(clip: str) -> dict[int, tuple[TrueBox, ...]]:
    """The truth by pts; a picture without objects is not in it."""
    found: dict[int, tuple[TrueBox, ...]] = {}
    with (MEDIA / "truth" / "boxes.csv").open() as file:
        for row in csv.DictReader(file):
            if row["clip"] == clip:
                left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
                box = Box(left=left, top=top, width=width, height=height)
                true = TrueBox(
                    track=int(row["track"]), detection=Detection(box=box, label=row["label"], confidence=0.9)
                )
                found[int(row["pts"])] = (*found.get(int(row["pts"]), ()), true)
    return found


def visits() -> list[dict[str, float]]:
    """When each of the six people is in view, and in the zone."""
    with (MEDIA / "truth" / "visits.csv").open() as file:
        names = ("enter_s", "leave_s", "zone_enter_s", "zone_leave_s")
        return [{name: float(row[name]) for name in names} for row in csv.DictReader(file)]


def crossings() -> list[tuple[float, str]]:
    """When each of the four cars crosses the line 0,0.5 to 1,0.5, and its direction."""
    with (MEDIA / "truth" / "crossings.csv").open() as file:
        return [(float(row["time_s"]), row["side"]) for row in csv.DictReader(file)]


def noisy(luma: Luma, *, deviation: float, seed: int) -> Luma:
    return as_luma(luma + np.random.default_rng(seed).normal(0, deviation, luma.shape))


def exposed(luma: Luma, gain: float) -> Luma:
    """The same scene by another exposure: black stays black."""
    return as_luma(16 + (luma.astype(np.float64) - 16) * gain)


def as_luma(values: NDArray[np.float64]) -> Luma:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
