"""A model of clips live: a posted video gives the windows of the batch job, a picture is refused with the reason."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from serving import Live, encoded, noise, serving
from videos import video_bytes, written

from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.embedder import Embedder
from pipeline.models.registry import load_model
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import row_marks
from pipeline.records.segments import Sizing, TimeRange
from pipeline.records.windows import Windows
from pipeline.stages.decode import decode_video
from pipeline.stages.windows import clip_inputs
from pipeline.storage.local import LocalReader
from pipeline.storage.retry import DEFAULT_RETRY
from serve.settings import ModelSettings

WINDOWS = Windows(length=4, stride=3)
NAME, WEIGHTS = "r3d_18", "random:3"
Row = tuple[int, int, float, int]


@pytest.fixture(scope="module")
def served() -> Iterator[Live]:
    model = ModelSettings(
        name=NAME, weights=WEIGHTS, window=WINDOWS.length, stride=WINDOWS.stride, precision="fp32", num_threads=1
    )
    with serving(model=model) as server:
        yield server


def batch_rows(path: str, rule: str) -> tuple[list[Row], np.ndarray]:
    """The rows that ``extract`` writes: pts, end_pts, end_time_s and num_frames; and their features."""
    model = load_model(NAME, weights=WEIGHTS, window=WINDOWS.length)
    embedder = Embedder(model, batch_size=8)
    job = Job(uri="a video", rule=parse_rule(rule), time_range=TimeRange(), windows=WINDOWS)
    rows: list[Row] = []
    inputs = []
    with Sandbox(DecodeLimits()) as sandbox, LocalReader(path, expected=None, retry=DEFAULT_RETRY) as reader:
        plan = sandbox.plan(reader, job, sizing=Sizing())
        for samples in decode_video(
            sandbox,
            reader,
            job,
            facts=plan.facts,
            segments=plan.segments,
            preprocessings=(model.info.preprocessing.beside_the_decoder,),
        ):
            marks, about = row_marks(samples, WINDOWS)
            ends = zip(about["end_pts"], about["end_time_s"], about["num_frames"], strict=True)
            rows += [
                (mark.pts, int(pts), time_s, int(count)) for mark, (pts, time_s, count) in zip(marks, ends, strict=True)
            ]
            inputs += clip_inputs(samples.pixels[0], samples.clips or (), length=WINDOWS.length)
    return rows, embedder.embed(inputs)


@pytest.mark.parametrize(
    ("rule", "count"),
    [*(pytest.param(*each, marks=pytest.mark.slow) for each in (("fps:10", 6), ("all", 17))), ("fps:0.5", 1)],
)
def test_a_posted_video_gives_the_windows_of_the_batch_job(served: Live, tmp_path: Path, rule: str, count: int) -> None:
    data = video_bytes(num_frames=52)
    expected, features = batch_rows(written(tmp_path, "a.mp4", data), rule)
    answer = served.post(f"/v1/embed?sample={rule}", data, "video/mp4")
    assert answer.status_code == 200, answer.text
    samples = answer.json()["samples"]
    keys = ("pts", "end_pts", "end_time_s", "num_frames")
    assert [tuple(sample[key] for key in keys) for sample in samples] == expected
    assert len(expected) == count
    live = np.array([sample["feature"] for sample in samples], np.float32)
    assert np.abs(live - features).max() <= 1e-5 * max(1.0, float(np.abs(features).max()))


def test_arrow_says_where_windows_end(served: Live) -> None:
    arrow = "application/vnd.apache.arrow.stream"
    answer = served.post("/v1/embed?sample=fps:5", video_bytes(num_frames=100), "video/mp4", accept=arrow)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == ["pts", "time_s", "end_pts", "end_time_s", "num_frames", "feature"]
    assert table["num_frames"].to_pylist() == [4] * 6


@pytest.mark.parametrize("path", ["/v1/embed", "/v1/classify", "/score"])
def test_a_picture_is_refused_with_the_reason(served: Live, path: str) -> None:
    answer = served.post(path, encoded(noise()), "image/png")
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "code": "needs_video",
        "message": "r3d_18 takes clips of 4 samples: send a video to /v1/embed",
    }
