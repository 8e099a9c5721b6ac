"""Clips of two kinds of motion that a network can be taught to tell apart, and a dataset of their pictures."""

import csv
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray
from rows import segment, task

from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.models.zoo.video_cnn import PREPROCESSING
from pipeline.records.model_info import ModelInfo
from pipeline.records.rows import pictured_rows, samples_row
from pipeline.records.segments import FrameMark, SegmentSamples
from pipeline.records.shards import WHOLE
from pipeline.records.videos import SegmentTask

KINDS = ("circles", "slides")
PARTS = ("train", "validation", "test")


def pictures_of(kind: str, *, seed: int, num: int) -> Iterator[NDArray[np.uint8]]:
    """RGB ``uint8[128, 128, 3]``: a red square that circles, or a blue one that slides, over a mottled ground."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (16, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    angle, side = rng.uniform(0, 6.28), int(rng.integers(16, 24))
    for at in range(num):
        picture = ground.copy()
        if kind == "circles":
            left, top = (int(56 + 36 * turn(angle + at / 2)) for turn in (np.cos, np.sin))
        else:
            left, top = int(at * 11 + angle * 20) % (128 - side), 52
        picture[top : top + side, left : left + side] = (230, 60, 40) if kind == "circles" else (40, 90, 230)
        yield picture


def make_clips(folder: Path, *, num: int, num_frames: int) -> list[dict[str, str]]:
    """So many clips of each kind; returns a row of labels each, their parts in turn."""
    folder.mkdir()
    rows = []
    for at, kind in itertools.product(range(num), KINDS):
        name = f"{kind}_{at}.mp4"
        _encode(folder / name, pictures_of(kind, seed=at, num=num_frames))
        part = PARTS[0] if at < num - 2 else PARTS[1 + (at == num - 1)]
        rows.append({"uri": name, "label": kind, "split": part})
    return rows


def label_file(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    """A CSV file of labels."""
    table = list(rows)
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def inputs_info() -> DatasetInfo:
    """How a dataset of the pictures that ``video_cnn`` takes is made."""
    model = ModelInfo(name="video_cnn", dim=512, weights_digest="sha256:00", preprocessing=PREPROCESSING)
    config = DatasetConfig(model=model, sample="all", precision="fp32", dtype="float32", content="inputs")
    return DatasetInfo(config=config, weights="random:0")


def keep_pictures(folder: Path, videos: dict[str, NDArray[np.uint8]]) -> tuple[Dataset, str]:
    """A dataset of pictures, a file for each video; and the token of its lease."""
    dataset, info = Dataset.at(str(folder)), inputs_info()
    dataset.store.ensure_writable()
    token = dataset.backend.acquire(slot=WHOLE).token
    dataset.create(info)
    for name, pixels in videos.items():
        marks = tuple(
            FrameMark(epoch=0, pts=at, time_s=at / 10, is_keyframe=at == 0, is_corrupt=False)
            for at in range(len(pixels))
        )
        piece = segment(num_samples=len(pixels))
        decoded = SegmentSamples(segment=piece, marks=marks, pixels=(pixels,), failure=None)
        samples = samples_row(SegmentTask.from_row(cast(Any, task(name, piece))), decoded)
        dataset.publish_features(pictured_rows(samples, place=0), info, token=token)
    return dataset, token


def _encode(path: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for at, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
