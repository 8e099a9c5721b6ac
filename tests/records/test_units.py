"""Units: which samples get one label and one prediction together."""

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.records.units import Unit, VideoSamples


def video(times_s: list[float], *, epochs: list[int] | None = None, end_s: float | None = None) -> VideoSamples:
    return VideoSamples(
        epochs=np.array(epochs or [0] * len(times_s), np.int32),
        pts=np.arange(len(times_s), dtype=np.int64),
        times_s=np.array(times_s, np.float64),
        end_s=end_s,
    )


def as_lists(text: str, samples: VideoSamples) -> list[tuple[int, int, float, float]]:
    units = Unit.parse(text).of(samples)
    columns = (units.begin, units.end, units.time_s, units.end_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("unit", "samples", "expected"),
    [
        pytest.param("frame", video([0, 1, 3], end_s=4.5), [(0, 1, 0, 1), (1, 2, 1, 3), (2, 3, 3, 4.5)], id="frames"),
        pytest.param("frame", video([0, 2]), [(0, 1, 0, 2), (1, 2, 2, 4)], id="a-video-whose-end-is-not-known"),
        pytest.param("video", video([0.5, 1, 3], end_s=4), [(0, 3, 0.5, 4)], id="a-video"),
        pytest.param("window:2", video([0, 1, 2, 3.9, 4]), [(0, 2, 0, 2), (2, 4, 2, 4), (4, 5, 4, 6)], id="half-open"),
        pytest.param("window:2", video([0, 9]), [(0, 1, 0, 2), (1, 2, 8, 10)], id="none-without-a-sample"),
        pytest.param("window:2/1", video([0, 1, 2]), [(0, 2, 0, 2), (1, 3, 1, 3), (2, 3, 2, 4)], id="overlapping"),
        pytest.param(
            "window:2", video([0, 1, 1.5], epochs=[0, 0, 1]), [(0, 2, 0, 2), (2, 3, 0, 2)], id="within-one-epoch"
        ),
        pytest.param("window:1/3", video([0, 2, 3.5]), [(0, 1, 0, 1), (2, 3, 3, 4)], id="with-gaps-between"),
        pytest.param("window:5", video([]), [], id="no-samples"),
        pytest.param("frame", video([]), [], id="no-samples-no-frames"),
        pytest.param("video", video([]), [], id="no-samples-no-video"),
    ],
)
def test_units_of_a_video(unit: str, samples: VideoSamples, expected: list[tuple[int, int, float, float]]) -> None:
    assert as_lists(unit, samples) == expected


@pytest.mark.parametrize("text", ["frame", "video", "window:2", "window:0.5/0.25", "window:30/1"])
def test_a_unit_is_written_as_it_is_read(text: str) -> None:
    assert str(Unit.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "frames", "window", "window:", "window:0", "window:-1", "window:2/0", "window:nan"]
)
def test_a_bad_unit_is_said_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="use frame, video, window:SECONDS"):
        Unit.parse(text)
