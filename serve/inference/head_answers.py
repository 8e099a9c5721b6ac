"""What a head says of features: of a video's units, of pictures by themselves, of a row of samples.

All of it computes, and belongs into a thread beside the event loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.models.batching import Features
from pipeline.records.segments import FrameMark
from pipeline.records.units import Units, VideoSamples
from serve.inference.head_folder import ServedHead, rows_as_one
from serve.inference.labels import Label, Ranking
from serve.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitLabels:
    """The units of a video, and the most probable labels of each."""

    units: Units
    ranking: Ranking


def samples_of(marks: Sequence[FrameMark], *, end_s: float | None) -> VideoSamples:
    """When the samples of a video are shown, as the batch job has them from the dataset."""
    return VideoSamples(
        epochs=np.array([mark.epoch for mark in marks], np.int32),
        pts=np.array([mark.pts for mark in marks], np.int64),
        times_s=np.array([mark.time_s for mark in marks], np.float64),
        end_s=end_s,
    )


def unit_labels(served: ServedHead, features: Features, samples: VideoSamples, *, top: int) -> UnitLabels:
    """What a head says of each unit of a video with the features ``float32[T, D]``."""
    answers = served.head.answer(features, samples)
    return UnitLabels(units=answers.units, ranking=best(served, answers.probabilities, top=top))


def probabilities(served: ServedHead, features: Features) -> Features:
    """What a head of frames says of each row of ``float32[N, D]``, and any other head of all rows as one unit.

    Returns:
        ``float32[N, C]``, or ``float32[1, C]``.
    """
    head, num_rows = served.head, len(features)
    if served.info.is_each_sample_alone:
        return head.frames(features)
    if not served.info.unit.is_frame:
        return last_unit(served, features, num_before=0)
    at = np.arange(num_rows, dtype=np.int64)
    each = Units(begin=at, end=at + 1, time_s=np.zeros(num_rows), end_s=np.zeros(num_rows))
    return head.of_units(features, each, runs=np.zeros(num_rows, np.int64))


def last_unit(served: ServedHead, features: Features, *, num_before: int) -> Features:
    """What a head says, ``float32[1, C]``, of rows in the order of time as one unit, but for the first ``num_before``.

    These are only what a step such as ``delta`` looks back to.
    """
    num_rows = len(features)
    unit = rows_as_one(num_rows - num_before, num_before=num_before)
    return served.head.of_units(features, unit, runs=np.zeros(num_rows, np.int64))


def picture_labels(served: ServedHead, features: Features, *, top: int) -> list[Label]:
    """What a head of frames says of one picture, ``float32[1, D]``: the ``top`` most probable labels."""
    return best(served, probabilities(served, features), top=top).labels(0)


def require_pictures(served: ServedHead) -> None:
    """Make sure that a head can say something of a picture by itself.

    Raises:
        Problem: it answers for windows of time, or for whole videos.
    """
    if not served.info.unit.is_frame:
        raise Problem(
            f"head {served.name} answers for {unit_of(served)}, not for a picture: post a video to /v1/classify"
        )


def unit_of(served: ServedHead) -> str:
    """What a head answers for, in words."""
    unit = served.info.unit
    if unit.kind == "video":
        return "whole videos"
    return "pictures" if unit.is_frame else f"windows of {unit.length_s:g} s"


def best(served: ServedHead, of_labels: Features, *, top: int) -> Ranking:
    """The ``top`` most probable labels of each row of ``float32[U, C]``."""
    return Ranking.best(of_labels, classes=served.info.labels, top=top)
