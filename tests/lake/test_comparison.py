"""``diff`` is exact about rows that are in one dataset alone, and about how far apart the others are."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from rows import DIM, config, features_of, id_of, segment, task

from pipeline.cli.dataset_commands import diff
from pipeline.errors import UsageError
from pipeline.lake.comparison.diff import Compared, ComparedVideo, Diff, complaints
from pipeline.lake.comparison.figures import Cosines, Figures, compare
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.records.rows import embedded_rows, output_rows, samples_row
from pipeline.records.segments import FrameMark, SegmentSamples
from pipeline.records.shards import WHOLE
from pipeline.records.videos import SegmentTask

ROWS = 20
INFO = DatasetInfo(config=config(), weights="random:0")


def stretch(name: str, index: int, times: range, features: Any) -> pa.Table:
    """An ``EMBEDDED`` row of the samples at these seconds."""
    piece = segment(index)
    marks = tuple(
        FrameMark(epoch=at // 12, pts=at * 1000 % 12_000, time_s=float(at), is_keyframe=False, is_corrupt=False)
        for at in times
    )
    pixels = np.zeros((len(times), 4, 4, 3), np.uint8)
    decoded = SegmentSamples(segment=piece, marks=marks, pixels=(pixels,), failure=None)
    row = samples_row(SegmentTask.from_row(task(name, piece)), decoded)
    return embedded_rows(output_rows(row, [np.ascontiguousarray(features, np.float32)]), place=0)


def lake(
    folder: Path, videos: dict[str, dict[int, Any]], *, cut: int = 5, backwards: bool = False, info: DatasetInfo = INFO
) -> str:
    """A dataset of videos with the features of some seconds, in segments of ``cut`` seconds, a file each."""
    dataset = Dataset.at(str(folder))
    dataset.store.ensure_writable()
    token = dataset.backend.acquire(slot=WHOLE).token
    dataset.create(info)
    rows = []
    for name, samples in videos.items():
        for index, begin in enumerate(range(0, ROWS, cut)):
            times = [at for at in range(begin, begin + cut) if at in samples]
            vectors = [samples[at] for at in times] or np.empty((0, info.config.model.dim))
            rows.append(stretch(name, index, times, vectors))  # type: ignore[arg-type]
    for row in reversed(rows) if backwards else rows:
        dataset.publish_features(row, info, token=token)
    return str(folder)


def samples(name: str, *, but: tuple[int, ...] = ()) -> dict[int, Any]:
    return {at: vector for at, vector in enumerate(features_of(name, 0, ROWS)) if at not in but}


def compared(a: str, b: str, **how: Any) -> tuple[dict[str, Compared], Compared]:
    found = Diff(a, b, **how)
    videos = list(found.videos())
    assert len({video.video_id for video in videos}) == len(videos)
    return {video.uri: video.compared for video in videos}, found.total


@pytest.mark.parametrize("piece_bytes", [1, 150, 1 << 20], ids=["a segment", "some", "all"])
def test_rows_belong_together_by_video_epoch_and_pts_however_they_are_cut_and_filed(
    piece_bytes: int, tmp_path: Path
) -> None:
    videos = {name: samples(name) for name in "abc"}
    a = lake(tmp_path / "a", videos, cut=5)
    b = lake(tmp_path / "b", dict(reversed(videos.items())), cut=3, backwards=True)
    each, total = compared(a, b, piece_bytes=piece_bytes)
    assert total == Compared(
        num_rows=3 * ROWS, only_a=0, only_b=0, worst_cosine=1.0, median_cosine=1.0, largest_difference=0.0
    )
    assert [video.num_rows for video in each.values()] == 3 * [ROWS]


@pytest.mark.parametrize("piece_bytes", [1, 150, 1 << 20], ids=["a segment", "some", "all"])
def test_rows_of_one_alone_are_counted_in_the_middle_at_the_ends_and_of_whole_videos(
    piece_bytes: int, tmp_path: Path
) -> None:
    a = lake(tmp_path / "a", {"both": samples("both", but=(0, 7, 8)), "mine": samples("mine")}, cut=4)
    b = lake(tmp_path / "b", {"both": samples("both", but=(7, 18, 19)), "yours": samples("yours", but=(3,))}, cut=7)
    each, total = compared(a, b, piece_bytes=piece_bytes)
    counts = {uri: (found.num_rows, found.only_a, found.only_b) for uri, found in each.items()}
    assert counts == {
        "/videos/both.mp4": (15, 2, 2),
        "/videos/mine.mp4": (0, 20, 0),
        "/videos/yours.mp4": (0, 0, 19),
    }
    assert (total.num_rows, total.only_a, total.only_b) == (15, 22, 21)
    assert each["/videos/mine.mp4"].worst_cosine is None
    assert complaints(total, at_least=None, at_most=None) == ["22 rows are in A alone, 21 in B alone"]


def test_figures_are_those_of_numpy(tmp_path: Path) -> None:
    one, other = {"x": samples("x"), "y": samples("y")}, {"x": samples("y"), "y": samples("x")}
    _, total = compared(lake(tmp_path / "a", one), lake(tmp_path / "b", other))
    x, y = (np.stack(list(samples(name).values())).astype(np.float64) for name in "xy")
    cosines = np.sum(x * y, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert total.worst_cosine == pytest.approx(cosines.min(), abs=1e-12)
    assert total.median_cosine == pytest.approx(np.median(cosines), abs=1e-12)
    assert total.largest_difference == pytest.approx(np.abs(x - y).max(), abs=1e-12)


@pytest.mark.parametrize("num", [1, 2, 70_000, 200_001])
def test_a_median_of_very_many_is_right_to_a_millionth(num: int) -> None:
    values = np.random.default_rng(num).uniform(-1, 1, num)
    cosines = Cosines()
    for part in np.array_split(values, max(1, num // 30_000)):
        cosines.add(part)
    assert cosines.median == pytest.approx(np.median(values), abs=1e-6)
    assert cosines.least == values.min()


@pytest.mark.parametrize(
    ("x", "y", "cosine", "difference"),
    [
        pytest.param([0, 0], [0, 0], 1.0, 0.0, id="zeros are alike"),
        pytest.param([0, 0], [0, 3], 0.0, 3.0, id="zeros and something"),
        pytest.param([1, 0], [-1, 0], -1.0, 2.0, id="opposites"),
        pytest.param([math.inf, 1], [math.inf, 1], 1.0, 0.0, id="what overflowed alike"),
        pytest.param([math.inf, 1], [2, 1], -1.0, math.inf, id="what overflowed in one"),
        pytest.param([math.nan, 1], [2, 1], -1.0, math.inf, id="no number"),
    ],
)
def test_odd_vectors_never_pass_for_alike(x: list[float], y: list[float], cosine: float, difference: float) -> None:
    figures = Figures()
    compare(np.array([x], np.float32), np.array([y], np.float32), figures)
    assert (figures.worst_cosine, figures.largest_difference) == (cosine, difference)


def test_bars_are_of_the_worst_row() -> None:
    total = Compared(num_rows=3, only_a=0, only_b=0, worst_cosine=0.9, median_cosine=1.0, largest_difference=math.inf)
    assert complaints(total, at_least=0.9, at_most=math.inf) == []
    assert complaints(total, at_least=0.91, at_most=None) == ["the worst cosine is 0.900000, below 0.91"]
    assert complaints(total, at_least=None, at_most=1e-3) == ["the largest difference is inf, above 0.001"]
    assert ComparedVideo(video_id="x", uri="y", compared=total).to_json()["largest_difference"] is None


def test_settings_that_differ_are_named(tmp_path: Path) -> None:
    model = replace(INFO.config.model, weights_digest="sha256:01")
    other = DatasetInfo(config=replace(INFO.config, model=model, sample="fps:2"), weights="random:1")
    videos = {"x": samples("x")}
    found = Diff(lake(tmp_path / "a", videos), lake(tmp_path / "b", videos, info=other))
    assert found.configuration == {
        "--sample": ("fps:1", "fps:2"),
        "the digest of --weights": ("sha256:00", "sha256:01"),
        "--weights": ("random:0", "random:1"),
    }


def test_features_of_unlike_length_are_refused(tmp_path: Path) -> None:
    model = replace(INFO.config.model, dim=DIM + 1)
    other = DatasetInfo(config=replace(INFO.config, model=model), weights="random:0")
    a, b = lake(tmp_path / "a", {"x": samples("x")}), lake(tmp_path / "b", {}, info=other)
    with pytest.raises(UsageError, match=f"{DIM} values in .*/a cannot be compared with those of {DIM + 1} in .*/b"):
        Diff(a, b)


def test_a_folder_of_datasets_names_them(tmp_path: Path) -> None:
    lake(tmp_path / "lake/one", {}), lake(tmp_path / "lake/two", {})
    with pytest.raises(UsageError, match=r"\(one, two\): give one of them, such as vidlake diff .*/lake/one"):
        Diff(str(tmp_path / "lake"), str(tmp_path / "lake/one"))


@pytest.mark.parametrize(
    ("bars", "status"), [([], 0), (["--at-least", "0.999"], 1), (["--at-most", "1e-3"], 1), (["--at-most", "9"], 0)]
)
def test_the_command_leaves_with_1_where_a_bar_does_not_hold(bars: list[str], status: int, tmp_path: Path) -> None:
    a, b = (lake(tmp_path / name, {"v": samples(name), "w": samples("w")}) for name in ("a", "b"))
    done = CliRunner().invoke(diff, [a, b, "--json", *bars], standalone_mode=False)
    document = json.loads(done.output)
    assert done.return_value == status, done.output
    assert len(document["complaints"]) == status
    assert [video["video_id"] for video in document["videos"]] == [id_of("v"), id_of("w")]
    assert (document["only_a"], document["only_b"], document["num_rows"]) == (0, 0, 2 * ROWS)
    lines = CliRunner().invoke(diff, [a, b, *bars], standalone_mode=False).output.splitlines()
    assert lines[1] == (
        f"/videos/w.mp4: {ROWS} rows in both; cosine 1.000000 at worst, 1.000000 in the middle; largest difference 0"
    )
    assert lines[2].startswith(f"all: {2 * ROWS} rows in both; cosine 0.")
