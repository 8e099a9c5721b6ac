"""Windows of samples: a model of clips takes several consecutive samples at once, and gives a row for each window.

Samples are counted within their epoch, from 0: this count is a sample's *ordinal*. Window k begins at sample
``k * stride - lead`` and has ``length`` samples. Without a lead, a window that the epoch's end cuts short does not
count, unless it is the epoch's only one. With a lead, results are kept for the inner samples of a window alone, and
what it lacks at either end of the epoch is filled up with the first and the last sample there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Which samples of an epoch form windows."""

    length: int
    stride: int
    lead: int = 0
    """Samples of a window before the ``stride`` samples that it keeps results for; 0: a window is one result."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1:
            raise ValueError(f"a window of {self.length} samples every {self.stride}")
        if self.lead and not (0 < self.lead < self.stride <= self.length - self.lead):
            raise ValueError(f"windows of {self.length} samples every {self.stride} cannot have a lead of {self.lead}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``N`` or ``N/STRIDE``, the value of ``--window``.

        Raises:
            UsageError: it is neither.
        """
        match = re.fullmatch(r"(\d{1,6})(?:/(\d{1,6}))?", text, re.ASCII)
        length, stride = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if length < 1 or stride < 1:
            raise UsageError(f"bad --window {text!r}: use N or N/STRIDE, each at least 1")
        return cls(length=length, stride=stride)

    def __str__(self) -> str:
        return f"{self.length}/{self.stride}"

    @property
    def keeps_samples(self) -> bool:
        """Whether a row is one of the samples that a window keeps results for, and not the window."""
        return self.lead > 0

    def begin(self, window: int) -> int:
        """The ordinal of the first sample that a window really has."""
        return max(0, window * self.stride - self.lead)

    def end(self, window: int) -> int:
        """The ordinal behind the last sample of a window, in an epoch that is long enough."""
        return window * self.stride - self.lead + self.length

    def first_from(self, ordinal: int) -> int:
        """The first window that begins at or after a sample."""
        return 0 if ordinal <= 0 else -(-(ordinal + self.lead) // self.stride)

    def beginning_at(self, ordinal: int) -> int | None:
        """The window that begins with a sample, if one does."""
        window = self.first_from(ordinal)
        return window if self.begin(window) == ordinal else None

    def count(self, num_samples: int) -> int:
        """How many windows an epoch of so many samples has."""
        if num_samples == 0:
            return 0
        if self.keeps_samples:
            return -(-num_samples // self.stride)
        return max(1, (num_samples - self.length) // self.stride + 1)

    def num_rows(self, windows: range, *, num_samples: int) -> int:
        """How many rows some of the windows of an epoch of so many samples give."""
        if not self.keeps_samples:
            return len(windows)
        return max(0, min(windows.stop * self.stride, num_samples) - windows.start * self.stride)

    def ordinals(self, windows: range, *, num_samples: int) -> Sequence[int]:
        """The samples that consecutive windows consist of, increasing, in an epoch of ``num_samples``."""
        if not windows:
            return range(0)
        if self.stride <= self.length:
            return range(self.begin(windows.start), min(self.end(windows.stop - 1), num_samples))
        return [
            ordinal for each in windows for ordinal in range(self.begin(each), min(self.end(each), num_samples))
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A window among the decoded samples of a segment.

    ``begin`` and ``end`` are the places of its real samples among them, and ``first`` the place of its first sample: a
    window with a lead may lack some at the front, which are before ``begin``.
    """

    first: int
    begin: int
    end: int

    def places(self, length: int) -> list[int]:
        """The place of each of its ``length`` samples; what it lacks is filled up by its first and its last one."""
        return [min(max(place, self.begin), self.end - 1) for place in range(self.first, self.first + length)]

    def kept(self, windows: Windows) -> range:
        """The places of the samples that it keeps results for."""
        first = self.first + windows.lead
        return range(max(first, self.begin), min(first + windows.stride, self.end))
