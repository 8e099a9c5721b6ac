"""Which frames a rule picks, for peers that have no rules: they are told, for nothing."""

import math
from fractions import Fraction
from pathlib import Path
from typing import cast

from benchmarks.footage import opened


def picks_of(path: Path, rule: str) -> list[int]:
    """The numbers of the frames that a rule picks, in presentation order."""
    with opened(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
        shown = sorted((packet.pts or 0, packet.is_keyframe) for packet in packets)
        time_base = cast(Fraction, stream.time_base)
    if rule == "all":
        return list(range(len(shown)))
    if rule == "keyframes":
        return [number for number, (_, is_keyframe) in enumerate(shown) if is_keyframe]
    rate = Fraction(rule.removeprefix("fps:"))
    picks, empty_from = [], 0
    for number, (pts, _) in enumerate(shown):
        slots = ((pts - shown[0][0]) * time_base + min(time_base / 2, Fraction(1, 2000))) * rate
        if slots >= empty_from:
            picks.append(number)
            empty_from = math.floor(slots) + 1
    return picks
