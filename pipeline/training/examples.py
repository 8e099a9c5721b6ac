"""The labelled units of a lake, a video at a time: what fitting, measuring and leakage go by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.records.units import Units, VideoSamples

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoExamples:
    """The features of one video, and which of its units have a label."""

    video_id: str
    uri: str
    samples: VideoSamples
    features: NDArray[np.float32]
    """``float32[T, D]``, as stored."""
    units: Units
    """The labelled ones alone, U of them."""
    targets: NDArray[np.float32]
    """``float32[U, C]``: 1 for the label of a unit, or for each of its labels."""
    parts: NDArray[np.int8]
    """``int8[U]``: the place in ``PARTS`` of the part that each unit belongs to."""
    groups: NDArray[np.int64]
    """``int64[U]``: units of one group are never in different parts, unless the label file says so."""


Examples = Callable[[], Iterator[VideoExamples]]
"""Reads the lake anew with each call, always in the same order; memory does not grow with the lake."""
