"""What a head says beside a stream is what it says of the archive, and another version takes over while it runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from served_heads import put, video_cnn

from pipeline.cameras.hosting.live_head import WatchingHead
from pipeline.errors import UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.models.heads.head import Head
from pipeline.records.units import Unit, Units, VideoSamples


def lake() -> DatasetInfo:
    config = DatasetConfig(model=video_cnn(), sample="fps:5", precision="fp32", dtype="float32")
    return DatasetInfo(config=config, weights="random:0")


def features(num: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(num, video_cnn().dim)).astype(np.float32)


def watched(folder: Path, rows: NDArray[np.float32], *, first_s: float = 0.0) -> list[tuple[str, float] | None]:
    head = WatchingHead(str(folder), "door", info=lake())
    return [head.answer(row, first_s + number / 5) for number, row in enumerate(rows)]


def best(head: Head, probabilities: NDArray[np.float32]) -> list[tuple[str, float]]:
    return [(head.info.labels[int(row.argmax())], round(float(row.max()), 5)) for row in probabilities]


def rounded(answers: list[tuple[str, float] | None]) -> list[tuple[str, float]]:
    """The batch computes many rows at once, and sums them in another order."""
    return [(label, round(confidence, 5)) for label, confidence in filter(None, answers)]


def test_a_head_of_frames_says_of_each_sample_what_it_says_of_the_archive(tmp_path: Path) -> None:
    head, rows = put(tmp_path, "door"), features(20)

    assert rounded(watched(tmp_path, rows)) == best(head, head.frames(rows))


def test_a_head_of_windows_says_of_the_last_seconds_what_it_says_of_such_a_window(tmp_path: Path) -> None:
    head, rows = put(tmp_path, "door", unit="window:2"), features(30)
    end = np.arange(1, 31, dtype=np.int64)
    windows = Units(begin=np.maximum(0, end - 10), end=end, time_s=np.zeros(30), end_s=np.zeros(30))
    expected = best(head, head.of_units(rows, windows, runs=np.zeros(30, np.int64)))

    assert rounded(watched(tmp_path, rows)) == expected


def test_a_delta_looks_back_to_the_sample_before(tmp_path: Path) -> None:
    head, rows = put(tmp_path, "door", steps=("delta",)), features(12)
    at = np.arange(12)
    samples = VideoSamples(epochs=np.zeros(12, np.int32), pts=at, times_s=at / 5, end_s=12 / 5)

    assert head.info.unit == Unit.parse("frame")
    assert rounded(watched(tmp_path, rows)) == best(head, head.answer(rows, samples).probabilities)


def test_another_session_begins_without_what_the_one_before_saw(tmp_path: Path) -> None:
    put(tmp_path, "door", unit="window:2")
    rows = features(8)
    head = WatchingHead(str(tmp_path), "door", info=lake())
    for number in range(20):
        head.answer(features(40)[20 + number], number / 5)

    assert [head.answer(row, number / 5) for number, row in enumerate(rows)] == watched(tmp_path, rows)


def test_a_version_that_is_put_to_use_takes_over(tmp_path: Path) -> None:
    put(tmp_path, "door", labels=("ant", "bee", "cat"))
    head = WatchingHead(str(tmp_path), "door", info=lake())
    put(tmp_path, "door", labels=("dog", "eel", "fox"))
    head.look()
    answer = head.answer(features(1)[0], 0.0)

    assert answer is not None
    assert answer[0] in ("dog", "eel", "fox")


def test_a_version_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, "door")
    head = WatchingHead(str(tmp_path), "door", info=lake())
    before = head.answer(features(1)[0], 0.0)
    put(tmp_path, "door", unit="video")
    head.look()

    assert head.answer(features(1)[0], 0.0) == before


def test_a_head_of_other_features_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "door")
    info = lake()
    other = replace(info, config=replace(info.config, precision="bf16"))

    with pytest.raises(UsageError, match="other features"):
        WatchingHead(str(tmp_path), "door", info=other)


def test_a_head_of_whole_videos_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "door", unit="video")

    with pytest.raises(UsageError, match="never ends"):
        WatchingHead(str(tmp_path), "door", info=lake())


def test_a_head_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such head"):
        WatchingHead(str(tmp_path), "door", info=lake())
