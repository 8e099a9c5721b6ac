"""Sequences: where a video occurs, from which offset on, and how long; trimmed, disturbed, in the middle of another."""

from pathlib import Path

import numpy as np
import pytest
from labelled_lakes import make_lake
from rows import DIM

from pipeline.explore.answers import Stretch
from pipeline.explore.queries import Scope, SequenceQuery
from pipeline.explore.searcher import Searcher

RATE = 4
"""Samples of a query a second; those of a lake are a second apart."""


def film(seed: int, *, seconds: int) -> np.ndarray:
    """Features at every quarter of a second, which go from one picture to the next."""
    keys = np.random.default_rng(seed).standard_normal((seconds + 1, DIM))
    at = np.arange(seconds * RATE) / RATE
    whole, rest = at.astype(int), (at % 1)[:, None]
    features: np.ndarray = (keys[whole] * (1 - rest) + keys[whole + 1] * rest).astype(np.float32)
    return features


def sampled(features: np.ndarray) -> np.ndarray:
    return features[::RATE]


def asked(features: np.ndarray) -> SequenceQuery:
    return SequenceQuery(times_s=np.arange(len(features)) / RATE, vectors=features, end_s=len(features) / RATE)


def found(lake: str, query: SequenceQuery, *, has_cache: bool = True, scope: Scope | None = None) -> list[Stretch]:
    searcher = Searcher.at(lake, has_cache=has_cache)
    searcher.unpack()
    moments = searcher.search(query, scope=scope).moments
    return [each for each in moments if isinstance(each, Stretch)]


@pytest.fixture
def lake(tmp_path: Path) -> str:
    """Three films; the third has ten seconds of the first from its second 25 on, which there begin at 30."""
    third = film(3, seconds=60)
    third[25 * RATE : 35 * RATE] = film(1, seconds=60)[30 * RATE : 40 * RATE]
    films = {"one": film(1, seconds=60), "two": film(2, seconds=60), "three": third}
    return make_lake(tmp_path, {name: sampled(features) for name, features in films.items()})


@pytest.mark.parametrize("has_cache", [True, False], ids=["unpacked", "Parquet"])
def test_a_cut_is_found_where_it_is_from_and_where_it_was_pasted(lake: str, has_cache: bool) -> None:
    cut = film(1, seconds=60)[30 * RATE : 40 * RATE]
    first, second = found(lake, asked(cut), has_cache=has_cache)[:2]
    by_name = {each.best.uri: each for each in (first, second)}
    assert by_name.keys() == {"/videos/one.mp4", "/videos/three.mp4"}
    for uri, start_s in (("/videos/one.mp4", 30), ("/videos/three.mp4", 25)):
        each = by_name[uri]
        assert each.start_s == pytest.approx(start_s, abs=0.5)
        assert each.offset_s == pytest.approx(0, abs=0.5)
        assert each.matched_s == pytest.approx(10, abs=1)
        assert each.end_s == pytest.approx(start_s + 10, abs=1)


def test_what_two_films_share_is_found_from_its_offset_on(lake: str) -> None:
    third = film(3, seconds=60)
    third[25 * RATE : 35 * RATE] = film(1, seconds=60)[30 * RATE : 40 * RATE]
    stretches = found(lake, asked(third))
    whole, shared = stretches[:2]
    assert whole.best.uri == "/videos/three.mp4"
    assert whole.start_s == pytest.approx(0, abs=0.5)
    assert whole.matched_s == pytest.approx(60, abs=1)
    assert shared.best.uri == "/videos/one.mp4"
    assert shared.start_s == pytest.approx(30, abs=1)
    assert shared.offset_s == pytest.approx(25, abs=1)
    assert shared.matched_s == pytest.approx(10, abs=2)


def test_disturbed_pictures_between_samples_are_still_found(lake: str) -> None:
    cut = film(2, seconds=60)[41:81]  # from 10.25 s on: between two samples of the lake
    cut = cut + np.random.default_rng(0).normal(0, 0.15, cut.shape).astype(np.float32)
    best = found(lake, asked(cut))[0]
    assert best.best.uri == "/videos/two.mp4"
    assert best.start_s == pytest.approx(10.25, abs=0.5)
    assert best.matched_s == pytest.approx(10, abs=1.5)


def test_what_is_not_there_is_not_found(lake: str) -> None:
    stranger = film(77, seconds=20)
    assert all(
        each.matched_s < 10 and each.best.score < 0.95 for each in found(lake, asked(stranger))
    )  # of four values


def test_a_scope_holds_for_sequences_too(lake: str) -> None:
    cut = film(1, seconds=60)[30 * RATE : 40 * RATE]
    stretches = found(lake, asked(cut), scope=Scope(where="uri = '/videos/three.mp4'"))
    assert {each.best.uri for each in stretches} == {"/videos/three.mp4"}
