"""An appended table: its files stay, and what their footers list is settled."""

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.appended_file import Footer, file_of, read_description, read_footer, read_rows, settled_together
from pipeline.lake.files import DatasetFiles, digest_of
from pipeline.records.documents import Document
from pipeline.records.rows import concat
from pipeline.records.schemas import SETTLED
from pipeline.records.settled import Settled


class Appended:
    """The files of one appended table of a dataset."""

    def __init__(self, files: DatasetFiles, name: str) -> None:
        self.name = name
        self._files = files

    def publish(self, rows: pa.Table, entries: Sequence[Settled], *, token: str) -> int:
        """Commit rows in the order of the ``entries`` that they belong to, in one file.

        The name follows from what the entries settle, so that a commit that is repeated finds itself done.

        Returns:
            The file's size in bytes; 0: it was there already.

        Raises:
            LeaseLost: another run has taken over.
            StorageError: the store failed.
        """
        num_rows = sum(entry.num_samples for entry in entries)
        if num_rows != len(rows):
            raise ValueError(f"{len(rows)} rows of {self.name} for entries that settle {num_rows}")
        keys = sorted(f"{entry.video_id}.{entry.segment}.{entry.attempts}" for entry in entries)
        data = file_of(rows, entries).to_pybytes()
        stand_in = file_of(rows.slice(0, 0), []).to_pybytes()
        name = f"{self.name}/{digest_of(keys)}.parquet"
        is_new = self._files.fence(token).publish(name, data, stand_in=stand_in)
        return len(data) if is_new else 0

    def names(self) -> list[str]:
        """Its files."""
        return self._files.tables(self.name)

    def settled(self) -> pa.Table:
        """What is settled, a ``SETTLED`` row each, read from the footers alone."""
        return concat(list(self.settled_parts()), SETTLED)

    def settled_parts(self) -> Iterator[pa.Table]:
        """What is settled, file by file. Raises as ``footers``."""
        return (part.entries for part in settled_together(footer for _, footer in self.footers()))

    def footers(self) -> Iterator[tuple[str, Footer]]:
        """The files and what each says of itself.

        Raises:
            ForeignFile: what lies in the folder is not ours, or damaged; a reader would stumble over it too.
        """
        return self._files.read_each(self.names(), read_footer)

    def rows(self, name: str, spans: Sequence[tuple[int, int]], *, schema: pa.Schema) -> list[pa.Table]:
        """The rows of each span, its first row and how many, of a file. Raises as ``footers``."""
        return self._files.read(name, partial(read_rows, spans=spans, schema=schema, uri=self._files.uri(name)))

    def description(self, name: str) -> Document:
        """How the rows of a file were made. Raises as ``footers``."""
        return self._files.read(name, partial(read_description, uri=self._files.uri(name)))


def schema_of(files: DatasetFiles, name: str) -> pa.Schema:
    """The columns of a file, and how its rows were made.

    Raises:
        ForeignFile: it is damaged.
    """
    schema = files.read_ours(name, lambda file: pq.ParquetFile(file).schema_arrow)
    metadata = schema.metadata or {}
    return schema.with_metadata({key: value for key, value in metadata.items() if key in (b"vidlake",)} or None)
