"""A derived table: each of its files follows from other files, and is replaced whole.

Runs that go on side by side replace only the version of a file that was there before they began to read: so what stands
in a file at last was read after all that was committed before. The files of streams are their writers' alone.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.declarations import declare
from pipeline.lake.files import DatasetFiles, parquet_bytes
from pipeline.lake.live.names import is_of_streams
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.tables import Table


class Derived:
    """The files of a derived table as they were when this was made, and their replacements.

    Attributes:
        is_current: whether no other run has replaced one of them meanwhile, by what it read later.
    """

    def __init__(self, files: DatasetFiles, table: Table, *, is_alone: bool, token: str) -> None:
        """Begin to replace; ``is_alone``: no other run is at work on other files of the table.

        Raises:
            UsageError: the dataset has a table of this name that was made in another way.
            LeaseLost: another run has taken over.
        """
        if table.growth != "derived":
            raise ValueError(f"{table.name} is appended to: none of its files is replaced")
        declare(files, table, token=token)
        self._files = files
        self._table = table
        self._is_alone = is_alone
        self._token = token
        self._versions = files.store.versions(table.name)
        self._kept: set[str] = set()
        self.is_current = True

    def put(self, part: str, rows: pa.Table) -> None:
        """Replace the file of a part; without rows it is needed only in the place of one that may not be removed.

        The rows have the table's columns, and perhaps a manifest's further ones.
        """
        is_there = f"{self._table.name}/{part}.parquet" in self._versions
        if len(rows) or (is_there and not self._is_alone):
            self._replace(part, rows)

    def close(self, *, schema: pa.Schema | None = None) -> None:
        """Leave a file for a reader's glob, even where there are no rows, and remove the files that are left over.

        ``schema`` is of an empty file, where it has further columns.
        """
        if not self._kept and (self._is_alone or not self._versions):
            self._replace("empty", (schema or self._table.schema).empty_table())
        if self._is_alone:
            for name in self._files.store.list(self._table.name):
                if name not in self._kept and not is_of_streams(name):
                    self._files.fence(self._token).remove(name)

    def _replace(self, part: str, rows: pa.Table) -> None:
        own = rows.schema.names[: len(self._table.schema)]
        if rows.select(own).schema != self._table.schema.remove_metadata():
            raise ValueError(f"rows of {self._table.name} have other columns: {rows.schema}")
        name = f"{self._table.name}/{part}.parquet"
        rows = rows.replace_schema_metadata(self._table.schema.metadata)
        data, version = parquet_bytes(rows), self._versions.get(name)
        self._kept.add(name)
        if version is None or not self._is_there_already(name, data):
            self.is_current &= self._files.fence(self._token).replace(name, data, version=version)

    def _is_there_already(self, name: str, data: bytes) -> bool:
        """Whether a file holds these very bytes: then it is left as it is, and whoever watches it sees nothing new."""
        try:
            return self._files.store.read(name) == data
        except MissingFile:
            return False


def num_rows_of(files: DatasetFiles, name: str) -> int:
    """The rows of a file, by its footer.

    Raises:
        ForeignFile: it is damaged.
    """
    num_rows: int = files.read_ours(name, lambda file: pq.ParquetFile(file).metadata.num_rows)
    return num_rows
