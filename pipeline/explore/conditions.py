"""A condition in SQL over the table ``videos``: by DuckDB, which sees that table and nothing else."""

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.records.extras import missing

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",
}


class Condition:
    """One condition: an expression, and no statement."""

    def __init__(self, sql: str, schema: pa.Schema) -> None:
        """Read it against the columns of ``schema``.

        Raises:
            UsageError: it is no condition over these columns, or DuckDB is not installed.
        """
        self._sql = sql
        try:
            import duckdb
        except ImportError:
            raise UsageError(missing("duckdb", extra="search", command="--where")) from None
        self._failed = duckdb.Error
        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        self.filter(schema.empty_table())

    def filter(self, videos: pa.Table) -> pa.Table:
        """The rows that it holds for.

        Raises:
            UsageError: it is no condition over their columns.
        """
        try:
            # As an expression of its own, it cannot end the statement that it stands in and begin another.
            return self._connection.from_arrow(videos).filter(self._sql).to_arrow_table()
        except self._failed as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"bad --where {self._sql!r}: {reason}; give one condition over columns of videos"
            ) from None

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
