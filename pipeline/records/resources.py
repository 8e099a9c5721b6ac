"""What there is to use, and how much of it: hardware, limits of a decoder, sizes in bytes, spans of time."""

import re
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import UsageError
from pipeline.records.model_info import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What one decoder may use up before it is killed."""

    timeout_s: float | None = None
    """Seconds of work for one segment; ``None``: ten times the segment's own duration, at least 60."""
    memory_bytes: int = 2 * 1024**3
    max_pixels: int = 64_000_000

    def timeout_for(self, duration_s: float) -> float:
        """Seconds that a segment of ``duration_s`` may take."""
        return self.timeout_s if self.timeout_s is not None else max(60.0, 10 * duration_s)


_MOST_BYTES = 2**60
"""More than any machine has, and less than the operating system's limits can hold."""


_LONGEST_S = 100 * 366 * 86_400.0
"""A century: dates can still be computed with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What Ray has to give: totals over the nodes."""

    num_cpus: int
    num_gpus: int
    num_nodes: int

    @property
    def usual_precision(self) -> Precision:
        """What it is good at."""
        return "fp16" if self.num_gpus else "fp32"


def parse_size(text: str) -> int:
    """Bytes from ``2GiB``, ``500MB``, ``1.5 g``, ``1073741824``.

    Raises:
        UsageError: it is no size.
    """
    powers = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", text.strip().lower(), re.ASCII)
    size = 0 if match is None else int(Fraction(match[1]) * (1024 if match[3] else 1000) ** powers[match[2] or ""])
    if not 1 <= size <= _MOST_BYTES:
        raise UsageError(f"bad size {text!r}: use a number of bytes, or one with KB, MB, GB, TB, KiB, MiB, GiB or TiB")
    return size


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``5m``, ``24h``, ``1.5d``.

    Raises:
        UsageError: it is no span of time.
    """
    seconds = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", text.strip().lower(), re.ASCII)
    duration_s = 0.0 if match is None else float(Fraction(match[1]) * seconds[match[2]])
    if not 0 < duration_s <= _LONGEST_S:
        raise UsageError(f"bad span of time {text!r}: use a number with s, m, h or d, such as 24h")
    return duration_s
