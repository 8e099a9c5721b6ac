"""A run as one value: what every stage of it is given, on whatever node."""

from dataclasses import dataclass, replace
from typing import Self

from pipeline.extract.request import RunOptions
from pipeline.extract.sizes import NO_WORK, Sizes, Work, choose_sizes
from pipeline.extract.tally import Tally
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A dataset that a run writes one model's features to, under the ``token`` of its lease."""

    dataset: Dataset
    info: DatasetInfo
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What is to be known to plan videos: how they are sampled and cut, and within which limits."""

    rule: SamplingRule
    preprocessing: Preprocessing
    options: RunOptions
    sizes: Sizes
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run: where its rows go, what it was asked for, and how large its stages are."""

    target: Target
    options: RunOptions
    hardware: Hardware
    sizes: Sizes
    tally: Tally

    @classmethod
    def of(cls, target: Target, *, options: RunOptions, hardware: Hardware, tally: Tally) -> Self:
        """The context of a run whose work is not known yet."""
        sizes = choose_sizes(hardware, NO_WORK, options)
        return cls(target=target, options=options, hardware=hardware, sizes=sizes, tally=tally)

    def sized_for(self, work: Work) -> Self:
        """The same run, its stages sized for what is left to do."""
        return replace(self, sizes=choose_sizes(self.hardware, work, self.options))

    @property
    def planning(self) -> Planning:
        """What planning takes of it."""
        config = self.target.info.config
        return Planning(
            rule=parse_rule(config.sample),
            preprocessing=config.model.preprocessing,
            options=self.options,
            sizes=self.sizes,
            tally=self.tally,
        )

    @property
    def rule(self) -> SamplingRule:
        """What is sampled of each video."""
        return parse_rule(self.target.info.config.sample)

    @property
    def preprocessing(self) -> Preprocessing:
        """What decoding makes of a picture: the model's input."""
        return self.target.info.config.model.preprocessing
