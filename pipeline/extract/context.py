"""A run as one value: what every stage of it is given, on whatever node."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pyarrow as pa

from pipeline.extract.request import RunOptions
from pipeline.extract.sizes import NO_WORK, Sizes, Work, choose_sizes
from pipeline.extract.tally import Tally
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import Hardware
from pipeline.records.settled import Settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A dataset that a run writes to, under the ``token`` of its lease."""

    dataset: Dataset
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Place):
    """A dataset that a run writes one model's features to."""

    info: DatasetInfo

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return self.info.config.model.name

    def settled_parts(self) -> Iterator[pa.Table]:
        """What is settled of it, ``SETTLED`` rows, file by file."""
        return self.dataset.settled_parts()

    def settle(self, entries: Sequence[Settled]) -> None:
        """Commit outcomes that have no rows."""
        self.dataset.settle(entries, self.info, token=self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What planning takes of a run: how videos are sampled and cut, and within which limits."""

    rule: SamplingRule
    preprocessings: tuple[Preprocessing, ...]
    options: RunOptions
    sizes: Sizes
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run: where its rows go, what it was asked for, and how large its stages are.

    Each target has a model of its own; what is sampled, and how, is the same for all: one decoding pass serves them.
    """

    targets: tuple[Target, ...]
    options: RunOptions
    hardware: Hardware
    sizes: Sizes
    tally: Tally

    def __post_init__(self) -> None:
        if len({target.info.config.sample for target in self.targets}) != 1:
            raise ValueError("one decoding pass has one sampling rule")
        if len({target.info.config.content for target in self.targets}) != 1:
            raise ValueError("one pass keeps features or the models' inputs")

    @classmethod
    def of(cls, *targets: Target, options: RunOptions, hardware: Hardware, tally: Tally) -> Self:
        """The context of a run whose work is not known yet."""
        sizes = choose_sizes(hardware, NO_WORK, options)
        return cls(targets=targets, options=options, hardware=hardware, sizes=sizes, tally=tally)

    def sized_for(self, work: Work) -> Self:
        """The same run, its stages sized for what is left to do."""
        return replace(self, sizes=choose_sizes(self.hardware, work, self.options))

    @property
    def outputs(self) -> tuple[Target, ...]:
        """All that the run fills, each of which may lack other segments."""
        return self.targets

    def of_outputs(self, numbers: Sequence[int]) -> Self:
        """The same run for some of its ``outputs`` alone."""
        return replace(self, targets=tuple(self.outputs[number] for number in numbers))

    @property
    def places(self) -> tuple[Place, ...]:
        """The datasets that the outputs are in, each once."""
        places = {output.dataset.store.uri: output for output in self.outputs}
        return tuple(Place(dataset=each.dataset, token=each.token) for each in places.values())

    def at(self, places: Sequence[Place]) -> Self:
        """The same run for what it fills in some of its ``places`` alone."""
        uris = {place.dataset.store.uri for place in places}
        return self.of_outputs([at for at, each in enumerate(self.outputs) if each.dataset.store.uri in uris])

    @property
    def rule(self) -> SamplingRule:
        """What is sampled of each video."""
        return parse_rule(self.targets[0].info.config.sample)

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """The ways in which decoding prepares each sample: models that want the same share one."""
        return tuple(dict.fromkeys(map(_prepared, self.targets)))

    def place_of(self, target: Target) -> int:
        """Which of ``preprocessings`` the target's model takes."""
        return self.preprocessings.index(_prepared(target))

    @property
    def keeps_inputs(self) -> bool:
        """Whether the samples themselves are kept, as the models take them, and no model is at work."""
        return self.targets[0].info.config.content == "inputs"

    @property
    def planning(self) -> Planning:
        """What planning takes of the run."""
        return Planning(
            rule=self.rule,
            preprocessings=self.preprocessings,
            options=self.options,
            sizes=self.sizes,
            tally=self.tally,
        )


def _prepared(target: Target) -> Preprocessing:
    return target.info.config.model.preprocessing.beside_the_decoder
