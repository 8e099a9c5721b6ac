"""Thumbnails: a small upright JPEG of each sample, beside what the models take and without a change to it."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import ClipFactory
from numpy.typing import NDArray
from PIL import Image
from rows import TINY, finished, segment, task

from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.media.thumbnail_jpeg import encoded, thumbnail_size
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import output_rows, samples_row
from pipeline.records.segments import FrameMark, SegmentSamples, Sizing, Thumbnail, TimeRange
from pipeline.records.thumbnails import thumbnail_rows, thumbnails_table
from pipeline.records.videos import SegmentTask
from pipeline.stages.decode import decode_video
from pipeline.storage.local import LocalReader
from pipeline.storage.retry import DEFAULT_RETRY

JOB = Job(uri="clip", rule=parse_rule("every:10"), time_range=TimeRange())


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(DecodeLimits()) as shared:
        yield shared


def decoded(sandbox: Sandbox, path: Path, *, thumbnail_px: int | None) -> list[SegmentSamples]:
    with LocalReader(str(path), expected=None, retry=DEFAULT_RETRY) as reader:
        plan = sandbox.plan(reader, JOB, sizing=Sizing(duration_s=0.8))
        assert len(plan.segments) > 1
        return list(
            decode_video(
                sandbox,
                reader,
                JOB,
                facts=plan.facts,
                segments=plan.segments,
                preprocessings=(TINY,),
                thumbnail_px=thumbnail_px,
            )
        )


def pixels_of(thumbnail: Thumbnail) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(thumbnail.jpeg))
    assert (picture.format, picture.size) == ("JPEG", (thumbnail.width, thumbnail.height))
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("rotation", "size"), [(0, (64, 38)), (90, (38, 64)), (180, (64, 38))], ids=["as it lies", "turned", "upside down"]
)
def test_each_sample_has_one_upright_and_the_models_see_what_they_saw(
    rotation: int, size: tuple[int, int], sandbox: Sandbox, clips: ClipFactory
) -> None:
    clip = clips(gop=10, num_frames=50, rotation=rotation)
    plain, beside = (decoded(sandbox, clip, thumbnail_px=px) for px in (None, 64))
    largest = [each for samples in decoded(sandbox, clip, thumbnail_px=4096) for each in samples.thumbnails or ()]
    small = [each for samples in beside for each in samples.thumbnails or ()]
    assert [len(samples.marks) for samples in plain] == [len(samples.thumbnails or ()) for samples in beside]
    assert {(each.width, each.height) for each in small} == {size}
    assert len(small) == len(largest) == 5
    for one, whole in zip(small, largest, strict=True):
        assert max(whole.width, whole.height) == 160, "none is larger than the picture"
        reference = Image.fromarray(pixels_of(whole)).resize(size, Image.Resampling.BICUBIC)
        error = np.mean((np.asarray(reference, np.float64) - pixels_of(one)) ** 2)
        assert 10 * np.log10(255**2 / error) > 26
    for before, after in zip(plain, beside, strict=True):
        assert before.thumbnails is None
        assert before.marks == after.marks
        assert np.array_equal(before.pixels[0], after.pixels[0])


@pytest.mark.parametrize(
    ("picture", "longest_px", "size"),
    [
        pytest.param((1080, 1920), 128, (72, 128), id="wide"),
        pytest.param((1920, 1080), 128, (128, 72), id="tall"),
        pytest.param((96, 160), 4096, (96, 160), id="small ones stay"),
        pytest.param((3, 60_000), 128, (1, 128), id="a strip has a pixel"),
    ],
)
def test_the_longest_side_counts(picture: tuple[int, int], longest_px: int, size: tuple[int, int]) -> None:
    assert thumbnail_size(*picture, longest_px=longest_px) == size


def test_the_same_pixels_give_the_same_bytes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (38, 64, 3), np.uint8)
    assert encoded(pixels) == encoded(pixels.copy())


def samples(name: str, index: int, num: int) -> pa.Table:
    """A decoded segment, of which the thumbnails name their place."""
    piece = segment(index)
    marks = tuple(
        FrameMark(epoch=0, pts=index * 1000 + at, time_s=index + at / 1000, is_keyframe=False, is_corrupt=False)
        for at in range(num)
    )
    thumbnails = tuple(Thumbnail(width=4, height=3, jpeg=f"{name}{index}{at}".encode()) for at in range(num))
    done = SegmentSamples(
        segment=piece,
        marks=marks,
        pixels=(np.zeros((num, 4, 4, 3), np.uint8),),
        failure=None,
        thumbnails=thumbnails,
    )
    return samples_row(SegmentTask.from_row(task(name, piece)), done)


@pytest.mark.parametrize("is_embedded", [False, True], ids=["with no model", "behind models"])
def test_rows_are_those_of_the_samples(is_embedded: bool) -> None:
    rows = pa.concat_tables([samples("a", 0, 2), samples("a", 1, 0), samples("b", 0, 3)])
    if is_embedded:
        rows = output_rows(rows, [np.zeros((5, 4), np.float32)])
    schema = thumbnails_table(64, sample="fps:1").schema
    found = thumbnail_rows(rows, schema=schema)
    assert found.schema == schema
    assert [(row["uri"][8], row["pts"], row["jpeg"].decode(), row["width"]) for row in found.to_pylist()] == [
        ("a", 0, "a00", 4),
        ("a", 1, "a01", 4),
        ("b", 0, "b00", 4),
        ("b", 1, "b01", 4),
        ("b", 2, "b02", 4),
    ]


def test_a_segment_without_thumbnails_has_no_column_of_them() -> None:
    assert "thumbnails" not in finished("a").column_names
