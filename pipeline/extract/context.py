"""A run as one value: what every stage of it is given, on whatever node."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pyarrow as pa

from pipeline.extract.request import RunOptions
from pipeline.extract.sizes import NO_WORK, Sizes, Work, choose_sizes
from pipeline.extract.tally import Tally
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.shots import KnownShots
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.media.sampling.shots import ShotsRule
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import Hardware
from pipeline.records.segments import Sizing
from pipeline.records.settled import Settled
from pipeline.records.tables import Table
from pipeline.records.thumbnails import estimated_bytes, thumbnails_table
from pipeline.records.windows import Windows
from pipeline.stages.plan import sizing_for


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

    @property
    def sample(self) -> str:
        """What is sampled of each video."""
        return self.info.config.sample

    def settled_parts(self) -> Iterator[pa.Table]:
        """What is settled of it, ``SETTLED`` rows, file by file."""
        return self.dataset.settled_parts()

    def settle(self, entries: Sequence[Settled]) -> None:
        """Commit outcomes that have no rows."""
        self.dataset.settle(entries, self.info, token=self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailTarget(Place):
    """A dataset, or the folder above those of several models, that a run writes thumbnails to."""

    longest_px: int
    sample: str

    @property
    def table(self) -> Table:
        """Their table."""
        return thumbnails_table(self.longest_px, sample=self.sample)

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return self.table.name

    def settled_parts(self) -> Iterator[pa.Table]:
        """What is settled of it, ``SETTLED`` rows, file by file."""
        return self.dataset.appended(self.table.name).settled_parts()

    def settle(self, entries: Sequence[Settled]) -> None:
        """Commit outcomes that have no rows."""
        self.dataset.settle_in(self.table, entries, token=self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What planning takes of a run: how videos are sampled and cut, and within which limits."""

    rule: SamplingRule
    sizing: Sizing
    windows: Windows | None
    shots: KnownShots | None
    """Where the rule goes by them."""
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
    thumbnails: ThumbnailTarget | None = None

    def __post_init__(self) -> None:
        if len({output.sample for output in self.outputs}) != 1:
            raise ValueError("one decoding pass has one sampling rule")
        if len({target.info.config.content for target in self.targets}) > 1:
            raise ValueError("one pass keeps features or the models' inputs")

    @classmethod
    def of(
        cls,
        *targets: Target,
        options: RunOptions,
        hardware: Hardware,
        tally: Tally,
        thumbnails: ThumbnailTarget | None = None,
    ) -> Self:
        """The context of a run whose work is not known yet."""
        return cls(
            targets=targets,
            options=options,
            hardware=hardware,
            sizes=choose_sizes(hardware, NO_WORK, options),
            tally=tally,
            thumbnails=thumbnails,
        )

    def sized_for(self, work: Work, *, so_far: Work) -> Self:
        """The same run, its stages sized for what is to be done next; ``so_far``: with all that came before."""
        beside_bytes = 0 if self.thumbnail_px is None else estimated_bytes(self.thumbnail_px)
        sizes = choose_sizes(self.hardware, work, self.options, so_far=so_far, beside_bytes=beside_bytes)
        return replace(self, sizes=sizes)

    @property
    def outputs(self) -> tuple[Target | ThumbnailTarget, ...]:
        """All that the run fills, each of which may lack other segments."""
        return self.targets if self.thumbnails is None else (*self.targets, self.thumbnails)

    def of_outputs(self, numbers: Sequence[int]) -> Self:
        """The same run for some of its ``outputs`` alone."""
        targets = tuple(target for number, target in enumerate(self.targets) if number in numbers)
        return replace(self, targets=targets, thumbnails=self.thumbnails if len(self.targets) in numbers else None)

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
    def shots(self) -> KnownShots | None:
        """What the rule goes by, if it is ``shots:N``."""
        return known_shots(self.rule, self.options, out=self.outputs[0].dataset.store.uri)

    @property
    def windows(self) -> Windows | None:
        """How samples form windows; for all targets of one decoding pass alike."""
        return self.targets[0].info.config.windows if self.targets else None

    @property
    def rule(self) -> SamplingRule:
        """What is sampled of each video."""
        return parse_rule(self.outputs[0].sample)

    @property
    def thumbnail_px(self) -> int | None:
        """The longest side of the thumbnails that are made, if any."""
        return None if self.thumbnails is None else self.thumbnails.longest_px

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
        return any(target.info.config.content == "inputs" for target in self.targets)

    @property
    def has_models(self) -> bool:
        """Whether models are at work on the samples."""
        return bool(self.targets) and not self.keeps_inputs

    @property
    def sizing(self) -> Sizing:
        """How large a segment may become, for all that is kept of its samples."""
        return sizing_for(self.preprocessings, duration_s=self.options.segment_seconds, thumbnail_px=self.thumbnail_px)

    @property
    def planning(self) -> Planning:
        """What planning takes of the run."""
        return Planning(
            rule=self.rule,
            sizing=self.sizing,
            windows=self.windows,
            shots=self.shots,
            options=self.options,
            sizes=self.sizes,
            tally=self.tally,
        )


def _prepared(target: Target) -> Preprocessing:
    return target.info.config.model.preprocessing.beside_the_decoder


def known_shots(rule: SamplingRule, options: RunOptions, *, out: str) -> KnownShots | None:
    """The shots that a rule goes by, if it is ``shots:N``: those that the options name, or of the dataset ``out``."""
    return KnownShots(uri=options.shots or out) if isinstance(rule, ShotsRule) else None
