"""Whether a stream can write into a lake, and how often it is sampled there."""

from fractions import Fraction

from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.model_folders import datasets_within
from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.rules import parse_rule


def check_suitable(dataset: Dataset, info: DatasetInfo) -> None:
    """Make sure that a stream with this configuration can write into a lake, which need not exist yet.

    Raises:
        UsageError: it was made with other settings, or without ``captured_at``, or holds the datasets of several
            models; or the configuration is none for streams.
    """
    rate_of(info)
    if info.config.stride is not None or info.config.content != "features":
        raise UsageError(f"{info.config.model.name} takes clips: streams are for models of pictures")
    there = dataset.info()
    if there is None:
        within = datasets_within(dataset.store.uri)
        if within:
            root = dataset.store.uri
            raise UsageError(
                f"{root} holds the datasets of several models ({', '.join(within)}): give one of them as --out, such "
                f"as {root}/{next(iter(within))}"
            )
        return
    dataset.check(info.config)
    if not there.has_captured_at:
        uri = dataset.store.uri
        raise UsageError(
            f"{uri} was made by an earlier version, whose features do not say when they were captured: write it anew "
            f"by `vidlake compact {uri} --out NEW`, and give NEW as --out"
        )


def rate_of(info: DatasetInfo) -> Fraction:
    """How many slots a second has.

    Raises:
        UsageError: the sampling rule has no slots.
    """
    rule = parse_rule(info.config.sample)
    if not isinstance(rule, FpsRule):
        raise UsageError(f"streams are sampled by fps:R, not by {info.config.sample}")
    return rule.rate_hz
