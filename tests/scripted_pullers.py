"""Connections whose camera does what a test says, at once: it dies at the very moment that counts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from pipeline.cameras.pulling.pulled import Ended, EndReason, Frame, Opened, Pulled
from pipeline.media.sampling.fps import slot_of
from pipeline.media.sampling.pickers import allowance_of

TIME_BASE = Fraction(1, 90000)
FRAME_HZ = 25
SIZE = (90, 160)


def opened(*, width: int = 160, why: str = "connected") -> Opened:
    return Opened(
        codec="h264",
        container="rtsp",
        time_base=TIME_BASE,
        start_pts=1000,
        width=width,
        height=90,
        rotation=0,
        pix_fmt="yuv420p",
        why=why,
    )


@dataclass(slots=True, kw_only=True)
class Camera:
    """Gives frames that follow each other; the slots are those of the sampling rule, each once."""

    rate_hz: Fraction = Fraction(5)
    starts_at: float = field(default_factory=time.time)

    def frames(self, numbers: range, *, without_picture: Sequence[int] = (), late_s: float = 0.0) -> Iterator[Frame]:
        """The frames of these numbers, each 40 ms after the one before."""
        last = -1
        for number in numbers:
            time_s = Fraction(number, FRAME_HZ)
            slot = slot_of(time_s, allowance=allowance_of(TIME_BASE), rate_hz=self.rate_hz)
            is_sample, last = slot > last, max(slot, last)
            pixels = np.full((*SIZE, 3), number % 256, np.uint8)
            yield Frame(
                pts=1000 + int(time_s / TIME_BASE),
                time_s=time_s,
                is_keyframe=number % 50 == 0,
                is_corrupt=False,
                arrived_at=self.starts_at + float(time_s) + late_s,
                luma=np.full(SIZE, number % 256, np.uint8),
                slot=slot if is_sample else None,
                detect=False,
                picture=None if number in without_picture or not is_sample else pixels,
            )


def ended(reason: EndReason = EndReason.CLOSED, detail: str = "") -> Ended:
    return Ended(reason=reason, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """A read that finds nothing, and returns late where the machine is busy or was asleep."""

    after_s: float
    is_starting: bool = False


class ScriptedPuller:
    """One connection that gives what is listed, and then hangs."""

    def __init__(self, script: Sequence[Pulled | Nothing]) -> None:
        self._script = iter(script)
        self.is_closed = False
        self.heard_at: float | None = None
        self.is_heard_out = False

    def read(self, timeout_s: float) -> Pulled | None:
        pulled = next(self._script, None)
        if isinstance(pulled, Nothing):
            time.sleep(pulled.after_s)
            if not pulled.is_starting:
                self.heard_at = time.monotonic()
            return None
        self.heard_at = self.heard_at or time.monotonic()
        if pulled is None:
            self.is_heard_out = True
            time.sleep(timeout_s)
        return pulled

    def close(self) -> None:
        self.is_closed = self.is_heard_out = True


@dataclass(slots=True)
class Source:
    """Connections one after another; behind the last one nobody answers."""

    scripts: list[Sequence[Pulled | Nothing]]
    pullers: list[ScriptedPuller] = field(default_factory=list)

    def connect(self) -> ScriptedPuller:
        number = len(self.pullers)
        script = self.scripts[number] if number < len(self.scripts) else [ended(EndReason.UNREACHABLE, "refused")]
        puller = ScriptedPuller(script)
        self.pullers.append(puller)
        return puller

    def is_heard_out(self) -> bool:
        """Everything scripted was read, and the last of it is dealt with."""
        heard = [puller.is_heard_out for puller in self.pullers]
        return len(heard) >= len(self.scripts) and all(heard[: len(self.scripts)])
