"""A unit has the label of the range that holds all of its samples."""

import numpy as np
import pytest
from labelling import row

from pipeline.errors import UsageError
from pipeline.records.units import Unit, VideoSamples
from pipeline.training.labels.label_rows import LabelRow
from pipeline.training.labels.targets import LabelledUnits, label_units


def labelled(unit: str, times_s: list[float], rows: list[LabelRow], *, is_multi_label: bool = False) -> LabelledUnits:
    samples = VideoSamples(
        epochs=np.zeros(len(times_s), np.int32),
        pts=np.arange(len(times_s)),
        times_s=np.array(times_s, np.float64),
        end_s=None,
    )
    units = Unit.parse(unit).of(samples)
    return label_units(samples, units, rows, is_multi_label=is_multi_label, video="/v.mp4")


def label_of_unit(found: LabelledUnits, rows: list[LabelRow]) -> dict[int, str]:
    return {place: rows[at].label for place, at in zip(found.places.tolist(), found.first_rows().tolist(), strict=True)}


@pytest.mark.parametrize(
    ("unit", "rows", "expected"),
    [
        pytest.param("frame", [row("v", "a")], {0: "a", 1: "a", 2: "a", 3: "a", 4: "a", 5: "a"}, id="whole-video"),
        pytest.param("frame", [row("v", "a", start_s=0.5, end_s=1.5)], {1: "a", 2: "a"}, id="half-open"),
        pytest.param(
            "frame",
            [row("v", "a", end_s=1.0), row("v", "b", start_s=1.0, end_s=2.0)],
            {0: "a", 1: "a", 2: "b", 3: "b"},
            id="ranges-that-touch",
        ),
        pytest.param(
            "frame",
            [row("v", "a", end_s=1.0), row("v", "a", start_s=0.5, end_s=1.5)],
            {0: "a", 1: "a", 2: "a"},
            id="same-label-twice",
        ),
        pytest.param(
            "window:1", [row("v", "a", start_s=0.5, end_s=2.0)], {1: "a"}, id="windows-that-a-range-holds-whole"
        ),
        pytest.param("window:1/0.5", [row("v", "a", end_s=1.5)], {0: "a", 1: "a"}, id="windows-that-overlap"),
        pytest.param("video", [row("v", "a", end_s=2.5)], {}, id="a-range-holds-no-whole-video"),
        pytest.param("video", [row("v", "a")], {0: "a"}, id="a-whole-video"),
        pytest.param("frame", [row("v", "a", start_s=9.0)], {}, id="beyond-the-end"),
        pytest.param("frame", [row("v", "a", start_s=0.6, end_s=0.9)], {}, id="between-two-samples"),
        pytest.param("frame", [], {}, id="no-rows"),
    ],
)
def test_units_get_labels(unit: str, rows: list[LabelRow], expected: dict[int, str]) -> None:
    found = labelled(unit, [0, 0.5, 1.0, 1.5, 2.0, 2.5], rows)

    assert label_of_unit(found, rows) == expected


def test_samples_without_a_label_are_counted_whatever_the_unit() -> None:
    found = labelled("window:2", [0, 1, 2, 3, 4], [row("v", "a", start_s=1.0, end_s=4.0)])

    assert found.is_labelled.tolist() == [False, True, True, True, False]
    assert found.places.tolist() == [1]


def test_two_labels_of_a_unit_are_refused_and_named() -> None:
    rows = [row("v", "a"), row("v", "b", start_s=1.0, end_s=2.0, row=2)]

    with pytest.raises(UsageError, match=r"/v\.mp4 at 1 s has two labels, a \(row 1\) and b \(row 2\).*--multi-label"):
        labelled("frame", [0, 1, 2], rows)


def test_two_labels_of_a_unit_are_both_its_own_where_that_is_asked_for() -> None:
    rows = [row("v", "b", start_s=1.0, end_s=2.0), row("v", "a")]

    found = labelled("frame", [0, 1, 2], rows, is_multi_label=True)

    assert found.targets(np.array([1, 0]), num_labels=2).tolist() == [[1, 0], [1, 1], [1, 0]]
    assert found.first_rows().tolist() == [1, 0, 1]


def test_a_unit_of_two_parts_is_refused() -> None:
    rows = [row("v", "a", part="train"), row("v", "a", part="test", row=2)]

    with pytest.raises(UsageError, match=r"is in train .row 1. and in test .row 2."):
        labelled("frame", [0, 1], rows)


def test_some_of_the_units_keep_their_rows() -> None:
    rows = [row("v", "a", end_s=1.5), row("v", "b", start_s=1.5)]
    found = labelled("frame", [0, 1, 2, 3], rows)

    kept = found.of(np.array([False, True, True, False]))

    assert kept.places.tolist() == [1, 2]
    assert label_of_unit(kept, rows) == {1: "a", 2: "b"}
