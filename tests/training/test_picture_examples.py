"""Pictures that are kept to train on: which of them have a label, and which parts they are for."""

from pathlib import Path

import numpy as np
import pytest
from moving import KINDS, keep_pictures, label_file, pictures_of
from numpy.typing import NDArray
from rows import id_of

from pipeline.errors import StorageError, UsageError
from pipeline.training.examples import PARTS
from pipeline.training.finetune.picture_examples import PictureExamples
from pipeline.training.finetune.sample_places import thumbnails_of
from pipeline.training.labels.label_rows import read_label_file
from pipeline.training.request import LabelOptions, SplitOptions

OPTIONS = LabelOptions(file="labels.csv", column="label")


def video(kind: str, *, seed: int, num: int = 4) -> NDArray[np.uint8]:
    return np.stack(list(pictures_of(kind, seed=seed, num=num)))


def examples_of(folder: Path, rows: list[dict[str, str]], *, seed: int = 0) -> PictureExamples:
    labels = read_label_file(str(label_file(folder / "labels.csv", rows)), OPTIONS)
    return PictureExamples.of(str(folder / "inputs"), labels, options=OPTIONS, split=SplitOptions(seed=seed))


def test_labelled_samples_come_by_video_and_time_with_label_and_part(tmp_path: Path) -> None:
    keep_pictures(tmp_path / "inputs", {kind: video(kind, seed=0) for kind in KINDS})
    ranges = {"train": ("0", "0.2"), "test": ("0.2", "0.3")}  # a picture every 0.1 s: two, one, and one without a label
    rows = [
        {"uri": f"{kind}.mp4", "label": kind, "split": part, "start_s": start_s, "end_s": end_s}
        for kind in KINDS
        for part, (start_s, end_s) in ranges.items()
    ]
    examples = examples_of(tmp_path, rows)
    assert examples.labels == KINDS
    assert examples.report.num_unlabelled == 2
    first, second = sorted(KINDS, key=id_of)
    assert examples.targets.tolist() == [KINDS.index(first)] * 3 + [KINDS.index(second)] * 3
    assert examples.samples.pts.tolist() == [0, 1, 2] * 2
    assert [PARTS[part] for part in examples.parts] == ["train", "train", "test"] * 2
    assert (examples.num("train"), examples.num("validation"), examples.num("test")) == (4, 0, 2)


def test_training_is_the_same_however_the_pictures_are_spread_over_files(tmp_path: Path) -> None:
    rows = [{"uri": f"{kind}.mp4", "label": kind, "split": "train"} for kind in KINDS]
    digests = []
    for name, kinds in (("one", KINDS), ("other", KINDS[::-1])):
        (tmp_path / name).mkdir()
        keep_pictures(tmp_path / name / "inputs", {kind: video(kind, seed=0) for kind in kinds})
        digests.append(examples_of(tmp_path / name, rows).digest({"--epochs": 1}))
    assert digests[0] == digests[1]
    assert examples_of(tmp_path / "one", rows).digest({"--epochs": 2}) != digests[0]
    rows[0]["label"] = "squares"
    assert examples_of(tmp_path / "one", rows).digest({"--epochs": 1}) != digests[0]


@pytest.mark.parametrize("seed", range(4))
def test_videos_that_show_the_same_are_in_one_part(seed: int, tmp_path: Path) -> None:
    """Whatever they are called: what is drawn is their group."""
    videos = {f"{kind}_{at}": video(kind, seed=at) for kind in KINDS for at in range(6)}
    copies = {f"copy_{at}": videos[f"circles_{at}"] for at in range(6)}
    keep_pictures(tmp_path / "inputs", {**videos, **copies})
    rows = [{"uri": f"{name}.mp4", "label": name.split("_")[0]} for name in videos]
    rows += [{"uri": f"{name}.mp4", "label": "circles"} for name in copies]
    examples = examples_of(tmp_path, rows, seed=seed)
    part_of = {
        name: {int(part) for part in examples.parts[examples.samples.videos == id_of(name).encode()]}
        for name in (*videos, *copies)
    }
    assert examples.report.num_twins == 6
    assert all(len(parts) == 1 for parts in part_of.values())
    assert all(part_of[f"copy_{at}"] == part_of[f"circles_{at}"] for at in range(6))
    assert set.union(*part_of.values()) == {0, 1, 2}


def test_rare_labels_count_as_much_as_common_ones(tmp_path: Path) -> None:
    keep_pictures(
        tmp_path / "inputs", {"circles": video("circles", seed=0, num=6), "slides": video("slides", seed=0, num=2)}
    )
    examples = examples_of(tmp_path, [{"uri": f"{kind}.mp4", "label": kind, "split": "train"} for kind in KINDS])
    assert examples.commonest == "circles"
    assert examples.class_weights() == pytest.approx((8 / 12, 8 / 4))


def test_class_without_a_picture_to_learn_from_is_a_usage_error(tmp_path: Path) -> None:
    keep_pictures(tmp_path / "inputs", {kind: video(kind, seed=0) for kind in KINDS})
    rows = [{"uri": f"{kind}.mp4", "label": kind, "split": part} for kind, part in zip(KINDS, PARTS, strict=False)]
    with pytest.raises(UsageError, match="slides"):
        examples_of(tmp_path, rows)


def test_thumbnail_is_the_mean_of_parts() -> None:
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    pixels[1, :2, 2:4] = (10, 20, 30)
    thumbnails = thumbnails_of(pixels).reshape(2, 4, 4, 3)
    assert not thumbnails[0].any()
    assert thumbnails[1, 0, 1].tolist() == [10, 20, 30]
    assert thumbnails[1].sum() == 60


def test_what_a_training_worker_raised_is_what_is_said() -> None:
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    from pipeline.training.finetune.on_cluster import cause_of_failed_training

    lost = UserExceptionWithTraceback(RuntimeError("Connection closed by peer"), "Traceback (most recent call last)")
    full = UserExceptionWithTraceback(StorageError("/out: no space left"), "Traceback (most recent call last)")
    cause = cause_of_failed_training(WorkerGroupError("both", {0: lost, 1: full}))
    assert (type(cause), str(cause)) == (StorageError, "/out: no space left")
    assert "Connection closed" in str(cause_of_failed_training(WorkerGroupError("one", {0: lost})))
