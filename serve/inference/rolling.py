"""The last seconds of one WebSocket, for heads that need more than one picture to answer."""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile

import numpy as np

from pipeline.media.sampling.fps import FpsRule, slot_of
from pipeline.models.batching import Features
from serve.inference.head_answers import best, last_unit, unit_of
from serve.inference.head_folder import ServedHead
from serve.inference.labels import Label
from serve.problems import Problem

_PER_SECOND = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a head looks back from a picture, and how often it wants one."""

    length_s: float
    """0: of frames, each with the one before it."""
    num_before: int
    """How many samples it looks back from the first one: one for each ``delta``."""
    rate_hz: Fraction | None
    """Of the head's ``fps:R``; ``None``: its rule goes by something else than the clock, and it takes every picture."""

    @classmethod
    def of(cls, served: ServedHead, *, most_samples: int) -> "Reach":
        """That of a head.

        Raises:
            Problem: the head needs a whole video, or more pictures than are kept for one socket.
        """
        info, rule = served.info, served.rule
        if info.unit.kind == "video":
            raise Problem(f"head {served.name} answers for {unit_of(served)}, and a socket never ends")
        rate_hz = rule.rate_hz if isinstance(rule, FpsRule) else None
        if rate_hz is not None and info.unit.length_s * rate_hz > most_samples:
            raise Problem(
                f"head {served.name} answers for {unit_of(served)} at {rule}, "
                f"and {most_samples} pictures of a socket are kept"
            )
        return cls(length_s=info.unit.length_s, num_before=info.steps.count("delta"), rate_hz=rate_hz)


class Rolling:
    """The features of the pictures that a head may still want, and no more of them than a limit."""

    def __init__(self, *, most_samples: int) -> None:
        self._most_samples = most_samples
        self._reach: Reach | None = None
        self._kept: deque[tuple[int, Features]] = deque()
        """Of each picture when it came, in microseconds, and its features."""
        self._last_slot = -1

    def follow(self, served: ServedHead) -> None:
        """Keep what this head wants; pictures that came before stay only if it wants the same as the one before it.

        Raises:
            Problem: it cannot answer a socket.
        """
        reach = Reach.of(served, most_samples=self._most_samples)
        if reach != self._reach:
            self._reach = reach
            self._kept.clear()
            self._last_slot = -1

    def wants(self, time_s: float) -> bool:
        """Whether the picture that came then is the first one of its slot."""
        return self._slot(time_s) > self._last_slot

    def add(self, time_s: float, features: Features) -> None:
        """Keep the features ``float32[1, D]`` of the picture that came then, and let go of what is too old."""
        spare = self._followed().num_before
        self._last_slot = self._slot(time_s)
        self._kept.append((_microseconds(time_s), features))
        while len(self._kept) > self._most_samples + spare or self._num_old() > spare:
            self._kept.popleft()

    def labels(self, served: ServedHead, *, top: int) -> list[Label]:
        """What the head says of the pictures that are kept, the last one's time being the end of its unit."""
        features = np.concatenate([features for _, features in self._kept])
        return best(served, last_unit(served, features, num_before=self._num_old()), top=top).labels(0)

    def _slot(self, time_s: float) -> int:
        rate_hz = self._followed().rate_hz
        if rate_hz is None:
            return self._last_slot + 1
        return slot_of(Fraction(_microseconds(time_s), _PER_SECOND), allowance=Fraction(0), rate_hz=rate_hz)

    def _num_old(self) -> int:
        """Kept pictures that lie outside the seconds before the last one."""
        start = self._kept[-1][0] - _microseconds(self._followed().length_s)
        num_old = sum(1 for _ in takewhile(lambda kept: kept[0] <= start, self._kept))
        return min(num_old, len(self._kept) - 1)

    def _followed(self) -> Reach:
        if self._reach is None:
            raise RuntimeError("no head is followed")
        return self._reach


def _microseconds(time_s: float) -> int:
    """What a clock tells, exactly: floats would put a picture on either side of an edge."""
    return round(time_s * _PER_SECOND)
