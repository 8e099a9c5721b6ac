"""Figures of the benchmarks: medians with their spread, ratios by rounds, tables, and their places in documents."""

import pytest

from benchmarks.figures import Spread, in_turn, ratio, table, with_blocks


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        pytest.param([3.0, 1.0, 2.0], "2.0 (1.0 to 3.0)", id="median-least-most"),
        pytest.param([1.0, 2.0], "1.5 (1.0 to 2.0)", id="two-rounds-the-mean-of-both"),
        pytest.param([4.0], "4.0", id="one-round-has-no-spread"),
        pytest.param([1.01, 1.02, 0.99], "1.0", id="no-spread-in-the-digits-shown"),
        pytest.param([1234.5, 1234.5], "1,234.5", id="thousands"),
    ],
)
def test_a_figure_is_the_median_with_its_spread(values: list[float], shown: str) -> None:
    assert Spread.of(values).shown() == shown


def test_a_ratio_is_taken_round_by_round() -> None:
    """The second round had half the machine, for both: the ratio does not see it."""
    versus = ratio([60.0, 30.0, 63.0], [30.0, 15.0, 30.0])

    assert (versus.median, versus.least, versus.most) == (2.0, 2.0, 2.1)


def test_a_ratio_wants_both_to_have_run_every_round() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([60.0, 30.0], [30.0])


def test_each_round_begins_with_another_contender() -> None:
    orders = [in_turn(["a", "b", "c"], number) for number in range(4)]

    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_a_table_is_markdown() -> None:
    assert table(["who", "s"], [["vidlake", "1.0"], ["other", "2.0"]]) == [
        "| who | s |",
        "| --- | --- |",
        "| vidlake | 1.0 |",
        "| other | 2.0 |",
    ]


def test_a_table_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table(["who", "s"], [["vidlake"]])


DOCUMENT = """Before.

<!-- decode: written by make bench -->
old
<!-- end of decode -->

After.
"""


def test_a_document_gets_the_tables_in_their_places_and_keeps_the_rest() -> None:
    once = with_blocks(DOCUMENT, {"decode": "| new |\n"})

    assert once == DOCUMENT.replace("old", "\n| new |\n")
    assert with_blocks(once, {"decode": "| new |"}) == once


def test_a_table_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for driver"):
        with_blocks(DOCUMENT, {"driver": "| new |"})
