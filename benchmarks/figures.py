"""Figures of several rounds: their median and spread, tables in Markdown, and how these get into a document."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The same figure, measured in several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of at least one value."""
        return cls(median=statistics.median(values), least=min(values), most=max(values))

    def shown(self, digits: int = 1) -> str:
        """``12.3 (11.9 to 12.8)``; the median alone where all rounds gave the same."""
        median, least, most = (f"{value:,.{digits}f}" for value in (self.median, self.least, self.most))
        return median if least == most else f"{median} ({least} to {most})"


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """What one contender reaches of another, round by round: both had the machine at the same time.

    Raises:
        ValueError: the contenders did not run the same number of rounds.
    """
    return Spread.of([one / other for one, other in zip(above, below, strict=True)])


def in_turn(names: Sequence[str], round_number: int) -> list[str]:
    """The order in which contenders run: each round begins with another one, so that none always comes first."""
    first = round_number % len(names)
    return [*names[first:], *names[:first]]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown.

    Raises:
        ValueError: a row has not as many cells as there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(row)} cells for {len(columns)} columns: {row}")
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def with_blocks(document: str, blocks: Mapping[str, str]) -> str:
    """The document with each block put between ``<!-- NAME: written by make bench -->`` and ``<!-- end of NAME -->``.

    Raises:
        ValueError: the document has no place for a block.
    """
    for name, text in blocks.items():
        begin, end = f"<!-- {name}: written by make bench -->", f"<!-- end of {name} -->"
        before, is_begun, rest = document.partition(begin)
        _, is_ended, after = rest.partition(end)
        if not (is_begun and is_ended):
            raise ValueError(f"no place for {name}: it wants the lines {begin} and {end}")
        document = f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"
    return document


def publish(path: Path, blocks: Mapping[str, str]) -> None:
    """Put the blocks into a file, in their places."""
    path.write_text(with_blocks(path.read_text(), blocks))
