"""Words: the label that is called so, or all in which they stand; else the nearest ones are named."""

import pytest

from pipeline.errors import UsageError
from pipeline.explore.labels import labels_of

LABELS = (
    "water bottle",
    "pop bottle, soda bottle",
    "wine bottle",
    "sports car, sport car",
    "minivan",
    "racer, race car",
    "tabby, tabby cat",
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("water bottle", (0,), id="its-name"),
        pytest.param("Soda  Bottle", (1,), id="one-of-several-names"),
        pytest.param("bottle", (0, 1, 2), id="a-word-of-several"),
        pytest.param("car", (3, 5), id="whole-words-alone"),
        pytest.param("race_car", (5,), id="whatever-joins-them"),
    ],
)
def test_words_mean_labels(words: str, expected: tuple[int, ...]) -> None:
    assert labels_of(words, LABELS, whose="model m") == expected


@pytest.mark.parametrize(("words", "near"), [("sportscar", "sports car"), ("botle", "bottle"), ("mini van", "minivan")])
def test_unknown_words_get_the_nearest_labels(words: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"model m knows no '{words}'; near it are .*{near}"):
        labels_of(words, LABELS, whose="model m")


@pytest.mark.parametrize("words", ["", " ", "ξξξξ", "-"])
def test_words_like_nothing_name_some_labels(words: str) -> None:
    with pytest.raises(UsageError, match="model m knows no"):
        labels_of(words, LABELS, whose="model m")
