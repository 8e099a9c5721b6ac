"""The last seconds of a socket: which pictures a head gets, and that its answers are those for a window of a video."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_heads import put, video_cnn

from pipeline.records.units import VideoSamples
from serve.inference.head_folder import HeadFolder, ServedHead
from serve.inference.rolling import Reach, Rolling
from serve.problems import Problem

X = np.random.default_rng(4).normal(size=(40, 512)).astype(np.float32)


def served(folder: Path, kind: str = "linear", **options: Any) -> ServedHead:
    put(folder, "head", kind, **options)
    heads = HeadFolder(str(folder), model=video_cnn(), precision="fp32")
    return heads.load("head", heads.versions("head")[-1])


def rolling(head: ServedHead, *, most_samples: int = 1000) -> Rolling:
    made = Rolling(most_samples=most_samples)
    made.follow(head)
    return made


def said(window: Rolling, head: ServedHead) -> dict[str, float]:
    return {label.label: label.probability for label in window.labels(head, top=3)}


def test_rule_picks_the_first_picture_of_each_slot(tmp_path: Path) -> None:
    window = rolling(served(tmp_path, unit="window:2"))
    picked = []
    for time_s in (0, 0.1, 0.19, 0.2, 0.39, 0.41, 0.59, 5.0, 5.01, 5.2):
        if window.wants(time_s):
            window.add(time_s, X[:1])
            picked.append(time_s)
    assert picked == [0, 0.2, 0.41, 5.0, 5.2], "a gap yields no burst"


def test_picture_that_did_not_decode_leaves_its_slot_to_the_next(tmp_path: Path) -> None:
    window = rolling(served(tmp_path, unit="window:2"))
    assert window.wants(0.0)
    assert window.wants(0.1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("linear", {"unit": "window:2", "pool": ("mean", "std")}, id="windows"),
        pytest.param("linear", {"unit": "window:2", "steps": ("delta",), "pool": ("max",)}, id="windows of changes"),
        pytest.param("linear", {"unit": "window:2", "steps": ("delta", "delta")}, id="changes of changes"),
        pytest.param("linear", {"unit": "window:2/0.4"}, id="windows that overlap"),
        pytest.param("gru:4", {"unit": "window:2", "steps": ("delta",)}, id="a sequence"),
        pytest.param("linear", {"steps": ("delta",)}, id="frames and what changed"),
    ],
)
def test_last_seconds_are_answered_as_that_window_of_a_video(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    head = served(tmp_path, kind, **options)
    window = rolling(head)
    times = np.arange(40) / 5
    samples = VideoSamples(epochs=np.zeros(40, np.int32), pts=np.arange(40, dtype=np.int64), times_s=times, end_s=8.0)
    expected = head.head.answer(X, samples)
    units = expected.units
    is_whole = [head.info.unit.is_frame or end - begin == 10 for begin, end in zip(units.begin, units.end, strict=True)]
    rows = {int(units.end[row]) - 1: row for row in np.flatnonzero(is_whole)}
    num_compared = 0
    for at, time_s in enumerate(times):
        assert window.wants(float(time_s))
        window.add(float(time_s), X[at : at + 1])
        if at in rows:
            num_compared += 1
            got = [said(window, head)[label] for label in head.info.labels]
            assert got == pytest.approx(expected.probabilities[rows[at]].tolist(), abs=1e-5)
    assert num_compared >= 4


def test_memory_of_a_socket_does_not_grow(tmp_path: Path) -> None:
    head = served(tmp_path, unit="window:2", steps=("delta",))
    window = rolling(head)
    for at in range(300):
        window.add(at / 5, X[:1])
    assert len(window._kept) == 11, "ten of two seconds, and the one before them"


def test_rule_without_a_clock_takes_every_picture_up_to_the_limit(tmp_path: Path) -> None:
    head = served(tmp_path, unit="window:1000", sample="every:3")
    window = rolling(head, most_samples=7)
    for at in range(20):
        assert window.wants(at / 25)
        window.add(at / 25, X[:1])
    assert len(window._kept) == 7


def test_heads_that_no_socket_can_feed_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="never ends"):
        Reach.of(served(tmp_path, unit="video"), most_samples=1000)
    with pytest.raises(Problem, match="1000 pictures"):
        Reach.of(served(tmp_path, unit="window:3600"), most_samples=1000)


def test_another_version_goes_on_with_what_is_kept_if_it_wants_the_same(tmp_path: Path) -> None:
    first, second = served(tmp_path, unit="window:2"), served(tmp_path, unit="window:2", seed=1)
    window = rolling(first)
    for at in range(10):
        window.add(at / 5, X[at : at + 1])
    window.follow(second)
    fresh = rolling(second)
    for at in range(10):
        fresh.add(at / 5, X[at : at + 1])
    assert said(window, second) == said(fresh, second)
    window.follow(served(tmp_path, unit="window:1"))
    assert len(window._kept) == 0
