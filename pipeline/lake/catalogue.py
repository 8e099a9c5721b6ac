"""Where the rows of each settled segment of an appended table lie, as the footers of its files tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.lake.appended import Appended
from pipeline.lake.appended_file import ROW_GROUP_ROWS, Footer, settled_together
from pipeline.lake.files import ForeignFile
from pipeline.lake.ledger import Ledger

_ENTRY_BYTES = 170
"""Of a segment in a footer, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What an appended table settles as its footers tell, each segment once, sorted by video and segment.

    The arrays are parallel to the ledger's; ``place`` of a segment below means its place in them.
    """

    ledger: Ledger
    names: tuple[str, ...]
    """The files."""
    file: NDArray[np.int32]
    """Which of ``names`` holds the segment's rows."""
    first: NDArray[np.int64]
    """The first of its rows there."""
    num_bytes: NDArray[np.float64]
    """What it takes of a file, rows and footer, about."""

    @classmethod
    def of(cls, table: Appended) -> Self:
        """What is settled now; what is settled later is not in it.

        Raises:
            ForeignFile: a file does not hold what its footer lists.
        """
        names: list[str] = []
        files, firsts, sizes = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0)]

        def settled() -> Iterator[pa.Table]:
            for part in settled_together(_named(table, names)):
                num_rows = part.entries["num_samples"].to_numpy().astype(np.int64)
                for footer, counts in zip(part.footers, np.split(num_rows, np.cumsum(part.counts)[:-1]), strict=True):
                    if counts.sum() != footer.num_rows:
                        raise ForeignFile(f"{footer.uri} is damaged: its footer lists other rows than it has")
                    files.append(np.full(len(counts), len(files) - 1, np.int32))
                    firsts.append(np.cumsum(counts) - counts)
                    sizes.append(counts * (footer.data_bytes / max(1, footer.num_rows)) + _ENTRY_BYTES)
                yield part.entries

        ledger = Ledger.of(settled())
        place = ledger.place
        return cls(
            ledger=ledger,
            names=tuple(names),
            file=np.concatenate(files)[place],
            first=np.concatenate(firsts)[place],
            num_bytes=np.concatenate(sizes)[place],
        )

    def __len__(self) -> int:
        return len(self.file)

    def num_row_groups(self, places: NDArray[np.int64], *, parts: NDArray[np.int64]) -> int:
        """How many row groups are read where those of each part are read by themselves."""
        places, parts = places[self.num_rows(places) > 0], parts[self.num_rows(places) > 0]
        last = self.first[places] + self.num_rows(places) - 1
        groups = np.concatenate([self.first[places], last]) // ROW_GROUP_ROWS
        file, part = np.tile(self.file[places], 2), np.tile(parts, 2)
        return len(np.unique(np.stack([part, file, groups]), axis=1).T)

    def num_rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of each segment."""
        return self.ledger.num_samples[places].astype(np.int64)


def _named(table: Appended, names: list[str]) -> Iterator[Footer]:
    """The footers of a table's files, whose names are noted."""
    for name, footer in table.footers():
        names.append(name)
        yield footer
