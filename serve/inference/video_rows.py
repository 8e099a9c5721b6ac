"""The rows that a posted video gives: samples, or windows of them, as in the batch job."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.models.batching import Pictures
from pipeline.records.model_info import ModelInfo
from pipeline.records.rows import row_marks
from pipeline.records.segments import FrameMark, SegmentSamples
from pipeline.records.windows import Windows
from pipeline.stages.windows import clip_inputs
from serve.settings import ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEnd:
    """The last sample of a window, and how many it really has."""

    time_s: float
    pts: int
    num_frames: int


def windows_of(requested: ModelSettings, info: ModelInfo) -> Windows | None:
    """How the samples of a video form windows; ``None``: the model takes pictures."""
    length = info.preprocessing.window
    return None if length is None else Windows(length=length, stride=requested.stride or length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a decoded segment gives: the marks of its rows, where their windows end, and what the model takes."""

    marks: Sequence[FrameMark]
    ends: Sequence[WindowEnd]
    inputs: Sequence[Pictures]


def rows_of(samples: SegmentSamples, windows: Windows | None) -> Rows:
    """The rows of a segment, as the batch job has them: its samples, or the windows that begin in it."""
    if windows is None:
        return Rows(marks=samples.marks, ends=(), inputs=[samples.pixels[0]] if samples.marks else [])
    marks, about = row_marks(samples, windows)
    values = zip(about["end_time_s"], about["end_pts"], about["num_frames"], strict=True)
    ends = [WindowEnd(time_s=time_s, pts=int(pts), num_frames=int(count)) for time_s, pts, count in values]
    inputs = clip_inputs(samples.pixels[0], samples.clips or (), length=windows.length)
    return Rows(marks=marks, ends=ends, inputs=inputs)
