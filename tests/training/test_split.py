"""The split goes by group and never by frame: twins stay together, and training sees every class."""

import numpy as np
import pytest
from labelling import row
from numpy.typing import NDArray

from pipeline.records.units import VideoSamples
from pipeline.training.labels.groups import GroupedBy, Holding, group_holdings
from pipeline.training.labels.split import split_groups
from pipeline.training.labels.twins import Sketches, Tolerance, are_twins
from pipeline.training.request import SplitOptions

TRAIN, VALIDATION, TEST = range(3)
FP32 = Tolerance.of(["fp32"])


def split(labels_of_groups: list[str], **options: float) -> list[int]:
    """The part of each group, whose labels are the letters of a word."""
    pairs = [(group, ord(letter) - ord("a")) for group, word in enumerate(labels_of_groups) for letter in word]
    groups, labels = np.array(pairs, np.int64).T
    seed = int(options.pop("seed", 0))
    drawn = split_groups(groups, labels, num_groups=len(labels_of_groups), options=SplitOptions(seed=seed, **options))
    return [int(part) for part in drawn]


@pytest.mark.parametrize(
    ("num", "counts"),
    [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (4, [2, 1, 1]), (20, [14, 3, 3]), (100, [70, 15, 15])],
)
def test_a_class_is_shared_out_over_the_parts(num: int, counts: list[int]) -> None:
    assert np.bincount(split(["a"] * num), minlength=3).tolist() == counts


@pytest.mark.parametrize("seed", range(10))
def test_every_class_is_shared_out_by_itself_and_the_rare_one_is_trained_on(seed: int) -> None:
    words = ["a"] * 40 + ["b"] * 20 + ["c"]
    parts = np.array(split(words, seed=seed))

    by_class = [np.bincount(parts[[word == label for word in words]], minlength=3).tolist() for label in "abc"]

    assert by_class == [[28, 6, 6], [14, 3, 3], [1, 0, 0]]


@pytest.mark.parametrize("seed", range(10))
def test_training_gets_a_group_of_every_class_first(seed: int) -> None:
    words = ["ab", "b", "c", "cd", "a", "d"]
    parts = split(words, seed=seed)

    assert {letter for word, part in zip(words, parts, strict=True) if part == TRAIN for letter in word} == set("abcd")


def test_the_seed_draws() -> None:
    words = ["a"] * 30

    assert split(words, seed=1) == split(words, seed=1) != split(words, seed=2)


def test_parts_that_are_not_wanted_get_nothing() -> None:
    assert set(split(["a", "b"] * 10, validation=0.0, test=0.0)) == {TRAIN}
    assert set(split(["a", "b"] * 10, validation=0.0, test=0.3)) == {TRAIN, TEST}


@pytest.mark.parametrize(
    ("by", "groups"),
    [("video", [0, 0, 1, 2]), ("column", [0, 1, 1, 2]), ("range", [0, 1, 2, 3])],
)
def test_holdings_are_grouped(by: GroupedBy, groups: list[int]) -> None:
    holdings = [
        Holding(video=0, row=row("v", "a", group="x")),
        Holding(video=0, row=row("v", "a", group="y")),
        Holding(video=1, row=row("w", "a", group="y")),
        Holding(video=2, row=row("u", "a")),
    ]

    assert group_holdings(holdings, by=by, joined=[], twins=[]).tolist() == groups


def test_what_shares_a_unit_or_shows_the_same_is_one_group() -> None:
    holdings = [Holding(video=video, row=row("v", "a")) for video in (0, 0, 1, 1, 2)]

    assert group_holdings(holdings, by="range", joined=[(0, 1)], twins=[]).tolist() == [0, 0, 1, 2, 3]
    assert group_holdings(holdings, by="range", joined=[], twins=[(0, 2)]).tolist() == [0, 0, 1, 2, 0]


def video(num: int, *, seed: int, dim: int = 64, first_pts: int = 0) -> tuple[VideoSamples, NDArray[np.float32]]:
    pts = first_pts + 40 * np.arange(num, dtype=np.int64)
    samples = VideoSamples(epochs=np.zeros(num, np.int32), pts=pts, times_s=pts / 1000, end_s=None)
    return samples, np.random.default_rng(seed).random((num, dim), np.float32)


def candidates(videos: list[tuple[VideoSamples, NDArray[np.float32]]], tolerance: Tolerance) -> set[tuple[int, int]]:
    sketches = Sketches(dim=64, tolerance=tolerance)
    for number, (samples, features) in enumerate(videos):
        sketches.add(number, samples, features)
    return {(one, other) for one, other in sketches.candidates()}


@pytest.mark.parametrize(
    ("tolerance", "noise"),
    [pytest.param(FP32, 4e-6, id="fp32"), pytest.param(Tolerance.of(["fp16"]), 5e-4, id="fp16")],
)
def test_twins_are_found_among_many_videos(tolerance: Tolerance, noise: float) -> None:
    videos = [video(5 + seed % 7, seed=seed) for seed in range(300)]
    rng = np.random.default_rng(1)
    for one in (3, 70, 250):
        samples, features = videos[one]
        videos.append((samples, features + rng.uniform(-noise, noise, features.shape).astype(np.float32)))

    found = candidates(videos, tolerance)

    assert {(3, 300), (70, 301), (250, 302)} <= found
    assert len(found) < 200, "nearly all pairs are told apart without being read"
    for one, other in ((3, 300), (70, 301), (250, 302)):
        assert are_twins(*videos[one], *videos[other], tolerance=tolerance)


def test_a_video_that_goes_on_further_than_its_twin_is_found() -> None:
    samples, features = video(50, seed=0)
    part = VideoSamples(epochs=samples.epochs[20:], pts=samples.pts[20:], times_s=samples.times_s[20:], end_s=None)

    assert candidates([(samples, features), (part, features[20:])], FP32) == {(0, 1)}
    assert are_twins(samples, features, part, features[20:], tolerance=FP32)


def test_videos_that_differ_in_one_sample_or_share_no_pts_are_no_twins() -> None:
    samples, features = video(10, seed=0)
    other = features.copy()
    other[7, 3] += 3e-5
    later, _ = video(10, seed=0, first_pts=7)

    assert not are_twins(samples, features, samples, other, tolerance=FP32)
    assert are_twins(samples, features * 1e4, samples, other * 1e4, tolerance=Tolerance(relative=1e-4))
    assert not are_twins(samples, features, later, features, tolerance=FP32)


def test_features_that_are_not_finite_agree_with_nothing() -> None:
    samples, features = video(5, seed=0)
    features[2, 3] = np.inf

    assert candidates([(samples, features), (samples, features)], FP32) == {(0, 1)}
    assert not are_twins(samples, features, samples, features, tolerance=FP32)
    assert not are_twins(samples, features, samples, features, tolerance=Tolerance.of(["bf16"]))


def test_of_many_copies_each_is_joined_to_another_one() -> None:
    copies = [video(5, seed=0)] * 200

    found = candidates(copies, FP32)

    assert len(found) < 2 * len(copies)
    assert {other for _, other in found} == set(range(1, 200))
