"""When a frame is shown, which slot it fills, and whether a new session begins with it."""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.media.sampling.fps import slot_of
from pipeline.media.sampling.pickers import allowance_of

JUMP_S = 2.0
"""By how much pts may get ahead of the wall clock at once: a real gap takes as long as it says."""

FILE_JUMP_S = 10.0
"""The same in what is played at its own pace, where the wall clock says nothing."""

DRIFT_S = 10.0
"""How far a camera's clock may stray from ours before it is set anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What all frames of a session have in common."""

    width: int
    height: int
    pix_fmt: str
    rotation: int
    rate_hz: Fraction | None
    """That the codec's own headers state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Where a frame lies in its session."""

    pts: int
    time_s: Fraction
    slot: int | None
    detect: bool
    begins: str | None
    """Why a session begins with it, if one does."""


class FrameClock:
    """Stamps frames in presentation order. No two of a session get the same pts."""

    def __init__(
        self, *, time_base: Fraction, rate_hz: Fraction, detect_rate_hz: Fraction | None, is_live: bool, why: str
    ) -> None:
        """Start before a stream's first frame, with which a session begins for the reason ``why``."""
        self._time_base = time_base
        self._allowance = allowance_of(time_base)
        self._rate_hz = rate_hz
        self._detect_rate_hz = detect_rate_hz
        self._is_live = is_live
        self._why = why
        self._look: Look | None = None
        self._origin_pts = self._last_pts = self._last_claim = 0
        self._origin_arrived_s = 0.0
        self._most_ahead_s = 0.0
        self._last_slot = self._last_detect_slot = -1

    def stamp(self, claim: int, look: Look, *, arrived_s: float) -> Stamp:
        """The next frame, which claims this pts and came at this time of a clock that only goes forward."""
        begins = self._why_anew(claim, look, arrived_s)
        if begins is None:
            pts = max(claim, self._last_pts + 1)
        else:
            pts = self._origin_pts = claim
            self._origin_arrived_s, self._most_ahead_s = arrived_s, 0.0
            self._last_slot = self._last_detect_slot = -1
        self._look, self._last_claim, self._last_pts = look, claim, pts
        self._most_ahead_s = max(self._most_ahead_s, self._ahead_s(claim, arrived_s))
        time_s = (pts - self._origin_pts) * self._time_base
        slot = slot_of(time_s, allowance=self._allowance, rate_hz=self._rate_hz)
        is_sample = slot > self._last_slot
        self._last_slot = max(slot, self._last_slot)
        return Stamp(
            pts=pts, time_s=time_s, slot=slot if is_sample else None, detect=self._is_detected(time_s), begins=begins
        )

    def _is_detected(self, time_s: Fraction) -> bool:
        if self._detect_rate_hz is None:
            return False
        slot = slot_of(time_s, allowance=self._allowance, rate_hz=self._detect_rate_hz)
        is_new = slot > self._last_detect_slot
        self._last_detect_slot = max(slot, self._last_detect_slot)
        return is_new

    def _why_anew(self, claim: int, look: Look, arrived_s: float) -> str | None:
        before = self._look
        if before is None:
            return self._why
        if (look.width, look.height, look.pix_fmt, look.rotation) != (
            *(before.width, before.height, before.pix_fmt, before.rotation),
        ):
            return "size"
        if None not in (look.rate_hz, before.rate_hz) and look.rate_hz != before.rate_hz:
            return "rate"
        return "clock" if self._is_jump(claim, arrived_s) else None

    def _is_jump(self, claim: int, arrived_s: float) -> bool:
        step_s = float((claim - self._last_claim) * self._time_base)
        if step_s < 0:
            return True
        if not self._is_live:
            return step_s > FILE_JUMP_S
        ahead_s = self._ahead_s(claim, arrived_s)
        return ahead_s > self._most_ahead_s + JUMP_S or abs(ahead_s) > DRIFT_S

    def _ahead_s(self, claim: int, arrived_s: float) -> float:
        """How much further than the wall clock the session's pts have come.

        After a pause they lag behind, and a frame may come out of the decoder only after the pause that followed it.
        """
        return float((claim - self._origin_pts) * self._time_base) - (arrived_s - self._origin_arrived_s)


class Pace:
    """When to show the frames of what does not come at its own pace. What is late catches up by a quarter faster."""

    def __init__(self) -> None:
        self._anchor_s: float | None = None
        self._last: tuple[float, float] = (0.0, 0.0)

    def due_s(self, time_s: float, *, now_s: float, is_first: bool) -> float:
        """When to show the frame at ``time_s``, by the clock that says ``now_s``."""
        if self._anchor_s is None:
            self._anchor_s = now_s - time_s
        elif is_first:  # a session follows the one before at once
            self._anchor_s = max(now_s, self._last[1]) - time_s
        last_time_s, last_due_s = self._last
        due_s = self._anchor_s + time_s
        if not is_first:
            due_s = max(due_s, last_due_s + 0.8 * (time_s - last_time_s))
        self._last = time_s, max(due_s, now_s)
        return due_s
