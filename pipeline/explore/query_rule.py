"""How a video is sampled that is looked for."""

from fractions import Fraction

from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule

_DENSER = 4
"""A query's samples for each of the lake's: so one of them is close to each picture of the lake."""
_USUAL_RATE_HZ = Fraction(1)
"""Where the dataset was not sampled at even times."""


def query_rule(sample: str, *, is_of_clips: bool) -> SamplingRule:
    """How a video is sampled that is looked for in a lake that was sampled so."""
    rule = parse_rule(sample)
    if is_of_clips:
        return rule
    rate_hz = rule.rate_hz if isinstance(rule, FpsRule) else _USUAL_RATE_HZ
    return FpsRule(rate_hz * _DENSER)
