"""Windows of samples: the same wherever a video is cut, and made of the very samples that the rule picks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from odd_videos import retimed
from rows import TINY
from videos import video_bytes, written

from pipeline.errors import UsageError
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import WHOLE_VIDEO, FrameMark, Segment, Sizing, TimeRange, VideoFacts
from pipeline.records.windows import Windows
from pipeline.stages.decode import decode_video
from pipeline.stages.windows import clip_inputs
from pipeline.storage.local import LocalReader
from pipeline.storage.retry import DEFAULT_RETRY

GOP_10 = {"preset": "ultrafast", "g": "10", "bf": "3", "sc_threshold": "0"}
NO_B = {"preset": "ultrafast", "g": "25", "bf": "0", "sc_threshold": "0"}
UNEVEN = Sizing(duration_s=0.9, max_samples=7)
"""Segments that no window fits, several of which share a keyframe."""

Clips = list[tuple[FrameMark, FrameMark, int, bytes]]
"""The first sample, the last one, how many are real, and the pixels of each window."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(DecodeLimits()) as shared:
        yield shared


def job_of(rule: str, windows: Windows | None, time_range: TimeRange = WHOLE_VIDEO) -> Job:
    return Job(uri="a video", rule=parse_rule(rule), time_range=time_range, windows=windows)


def cut_of(sandbox: Sandbox, path: str, job: Job, sizing: Sizing) -> tuple[VideoFacts, Sequence[Segment]]:
    with LocalReader(path, expected=None, retry=DEFAULT_RETRY) as reader:
        plan = sandbox.plan(reader, job, sizing=sizing)
    return plan.facts, plan.segments


def clips_of(
    sandbox: Sandbox, path: str, job: Job, sizing: Sizing, *, keep: Callable[[int], bool] = lambda index: True
) -> Clips:
    facts, segments = cut_of(sandbox, path, job, sizing)
    wanted = [segment for segment in segments if keep(segment.index)]
    assert job.windows is not None
    found: Clips = []
    with LocalReader(path, expected=None, retry=DEFAULT_RETRY) as reader:
        for samples in decode_video(
            sandbox, reader, job, facts=facts, segments=wanted, preprocessings=(TINY,)
        ):  # fmt: skip
            assert samples.failure is None
            clips = samples.clips or ()
            arrays = clip_inputs(samples.pixels[0], clips, length=job.windows.length)
            pixels = [clip.tobytes() for array in arrays for clip in array]
            for clip, content in zip(clips, pixels, strict=True):
                found.append((samples.marks[clip.begin], samples.marks[clip.end - 1], clip.end - clip.begin, content))
    return found


def expected_of(sandbox: Sandbox, path: str, job: Job) -> Clips:
    """By the definition, from all samples of the video at once."""
    facts, segments = cut_of(sandbox, path, replace(job, windows=None), Sizing(max_samples=10_000))
    windows = job.windows
    assert windows is not None
    marks: list[FrameMark] = []
    pixels: list[NDArray[np.uint8]] = []
    with LocalReader(path, expected=None, retry=DEFAULT_RETRY) as reader:
        for samples in decode_video(
            sandbox, reader, replace(job, windows=None), facts=facts, segments=segments, preprocessings=(TINY,)
        ):
            marks += samples.marks
            pixels += list(samples.pixels[0])
    expected: Clips = []
    for epoch in sorted({mark.epoch for mark in marks}):
        places = [place for place, mark in enumerate(marks) if mark.epoch == epoch]
        for at in range(0, max(1, len(places) - windows.length + 1), windows.stride):
            real = places[at : at + windows.length]
            filled = real + real[-1:] * (windows.length - len(real))
            content = np.stack([pixels[place] for place in filled]).tobytes()
            expected.append((marks[real[0]], marks[real[-1]], len(real), content))
    return expected


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> str:
    """120 frames with B-frames and a keyframe every ten."""
    return written(tmp_path_factory.mktemp("steady"), "a.mp4", video_bytes(options=GOP_10, num_frames=120))


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two recordings in one file: the clock falls back after 61 frames, and 29 more follow."""
    data = video_bytes(options=NO_B, num_frames=90)
    twice = retimed(data, kind="mpegts", pts_ms=lambda index: 40 * (index if index < 61 else index + 1000))
    return written(tmp_path_factory.mktemp("joined"), "a.ts", twice)


@pytest.mark.parametrize("rule", ["all", "fps:7", "every:3", "uniform:41", "keyframes"])
@pytest.mark.parametrize(
    "windows",
    [
        Windows(length=8, stride=4),
        Windows(length=5, stride=5),
        Windows(length=4, stride=9),
        Windows(length=1, stride=1),
    ],
    ids=str,
)
def test_windows_are_the_same_wherever_the_video_is_cut(
    sandbox: Sandbox, steady: str, rule: str, windows: Windows
) -> None:
    job = job_of(rule, windows)
    expected = expected_of(sandbox, steady, job)
    assert expected
    assert clips_of(sandbox, steady, job, Sizing()) == expected
    assert clips_of(sandbox, steady, job, UNEVEN) == expected


def test_a_segment_alone_gives_its_windows(sandbox: Sandbox, steady: str) -> None:
    job = job_of("all", Windows(length=20, stride=3))
    _, segments = cut_of(sandbox, steady, job, UNEVEN)
    assert len(segments) > 10
    apart = [clips_of(sandbox, steady, job, UNEVEN, keep=each.index.__eq__) for each in segments]
    assert [len(clips) for clips in apart] == [segment.num_samples for segment in segments]
    assert [clip for clips in apart for clip in clips] == expected_of(sandbox, steady, job)


def test_what_a_segment_reads_past_its_end_is_in_the_plan(sandbox: Sandbox, steady: str) -> None:
    job = job_of("all", Windows(length=20, stride=20))
    _, without = cut_of(sandbox, steady, replace(job, windows=None), UNEVEN)
    _, segments = cut_of(sandbox, steady, job, UNEVEN)
    cost_s = sum(each.cost_s for each in without) / 120
    for segment in segments:
        owned = segment.window.end - segment.window.first  # type: ignore[operator]
        assert segment.num_samples == len(segment.targets or ()) / 20
        assert segment.cost_s > cost_s * owned


@pytest.mark.parametrize("rule", ["all", "fps:10", "every:2"])
@pytest.mark.parametrize("windows", [Windows(length=8, stride=4), Windows(length=40, stride=40)], ids=str)
def test_no_window_spans_a_jump_of_the_clock(sandbox: Sandbox, joined: str, rule: str, windows: Windows) -> None:
    job = job_of(rule, windows)
    expected = expected_of(sandbox, joined, job)
    assert {first.epoch for first, *_ in expected} == {0, 1}
    assert all(first.epoch == last.epoch for first, last, *_ in expected)
    assert clips_of(sandbox, joined, job, Sizing()) == expected
    assert clips_of(sandbox, joined, job, UNEVEN) == expected
    # A run that goes on where another one stopped has only some of the segments to do.
    _, segments = cut_of(sandbox, joined, job, UNEVEN)
    odd = clips_of(sandbox, joined, job, UNEVEN, keep=lambda index: index % 2 == 1)
    even = clips_of(sandbox, joined, job, UNEVEN, keep=lambda index: index % 2 == 0)
    assert len(segments) > 2
    assert sorted(odd + even, key=lambda clip: (clip[0].epoch, clip[0].pts)) == expected


def test_an_epoch_that_is_too_short_gives_one_window_filled_up_by_its_last_sample(
    sandbox: Sandbox, steady: str
) -> None:
    job = job_of("fps:2", Windows(length=16, stride=16))
    [(first, last, num_frames, content)] = clips_of(sandbox, steady, job, UNEVEN)
    assert (first.pts, num_frames) == (0, 10)
    size = len(content) // 16
    assert last.time_s == 4.52  # the first frame at or after 4.5 s
    assert {content[at * size : (at + 1) * size] for at in range(9, 16)} == {content[-size:]}
    assert len({content[at * size : (at + 1) * size] for at in range(10)}) == 10


def test_windows_begin_anew_in_the_range_that_a_manifest_asks_for(sandbox: Sandbox, steady: str) -> None:
    job = job_of("all", Windows(length=6, stride=6), TimeRange(start=Fraction(1), end=Fraction(3)))
    expected = expected_of(sandbox, steady, job)
    assert [first.time_s for first, *_ in expected] == pytest.approx([1 + 0.24 * each for each in range(8)])
    assert clips_of(sandbox, steady, job, UNEVEN) == expected


@pytest.mark.parametrize("text", ["0", "8/0", "", "8/", "/4", "x", "-3", "8/4/2", "1.5", "²"])
def test_a_bad_window_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="use N or N/STRIDE"):
        Windows.parse(text)


def test_a_window_is_read_and_written_back() -> None:
    assert Windows.parse("16") == Windows(length=16, stride=16)
    assert Windows.parse(str(Windows.parse("16/4"))) == Windows(length=16, stride=4)


def test_windows_with_a_lead_cover_every_sample_once(sandbox: Sandbox, steady: str, tmp_path: Path) -> None:
    windows = Windows(length=20, stride=10, lead=5)
    job = job_of("all", windows)
    for sizing in (Sizing(), UNEVEN):
        facts, segments = cut_of(sandbox, steady, job, sizing)
        kept: list[int] = []
        with LocalReader(steady, expected=None, retry=DEFAULT_RETRY) as reader:
            for samples in decode_video(
                sandbox, reader, job, facts=facts, segments=segments, preprocessings=(TINY,)
            ):  # fmt: skip
                for clip in samples.clips or ():
                    around = [samples.marks[place].pts for place in clip.places(20)]
                    places = clip.kept(windows)
                    kept += [samples.marks[place].pts for place in places]
                    step = samples.marks[1].pts - samples.marks[0].pts
                    first = samples.marks[places.start].pts
                    assert around == [min(max(first + step * at, 0), 119 * step) for at in range(-5, 15)]
        assert kept == sorted(set(kept))
        assert len(kept) == 120
