"""The videos of the input that have a label: only they are decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS, Source, id_of
from pipeline.training.labels.label_rows import LabelRows
from pipeline.training.labels.matching import match_videos


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledInputs:
    """What an input holds of labelled videos; iterating lists it anew."""

    inputs: Inputs
    ids: frozenset[str]
    num_others: int
    """Videos without a label."""

    @classmethod
    def of(cls, words: Sequence[str], rows: LabelRows, *, out: str) -> "LabelledInputs":
        """List the input and find the videos of the labels.

        Raises:
            UsageError: a word names nothing, a file's name fits two videos, or no label is of any.
            StorageError: a store failed.
        """
        inputs = Inputs(words, exclude=out, reserved=RESERVED_COLUMNS)
        num_videos = 0

        def videos() -> Iterator[tuple[str, str]]:
            nonlocal num_videos
            for source in inputs:
                num_videos += 1
                yield id_of(source), source.uri

        matches = match_videos(rows.rows, videos())
        if not matches.rows_of:
            first = ", ".join(rows.rows[at].shown for at in matches.unmatched[:5])
            raise UsageError(f"{rows.source}: no row matches one of the {num_videos} videos of the input: {first}")
        return cls(inputs=inputs, ids=frozenset(matches.rows_of), num_others=num_videos - len(matches.rows_of))

    @property
    def fields(self) -> list[pa.Field]:
        """The manifests' further columns."""
        return self.inputs.fields

    def __iter__(self) -> Iterator[Source]:
        return (source for source in self.inputs if id_of(source) in self.ids)
