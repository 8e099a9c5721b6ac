"""The search engine of one dataset: queries in, answers out. The command line and the server hold the same one."""

from collections.abc import Callable
from typing import Self

from pipeline.explore.answers import Answer, Curve
from pipeline.explore.queries import Query, Scope
from pipeline.lake.dataset import DatasetInfo

Say = Callable[[str], None]


class Searcher:
    """Looks through the features of one dataset, those that come meanwhile included. Safe to use from many threads.

    Attributes:
        uri: of the dataset.
        info: how it was made.
    """

    uri: str
    info: DatasetInfo

    @classmethod
    def at(cls, uri: str, *, has_cache: bool = True) -> Self:
        """The engine for the dataset at ``uri``; nothing of its rows is read yet.

        Args:
            uri: of the dataset.
            has_cache: False: never keep or use an unpacked copy; Parquet is read for each query.

        Raises:
            UsageError: there is no dataset, or a folder of several, which are named.
            StorageError: the store failed.
        """
        raise NotImplementedError

    def unpack(self, say: Say = lambda _: None) -> None:
        """Make the memory-mapped copy of each features file that has none yet; ``say`` is told its size first.

        Without it, searches read those files as Parquet.
        """
        raise NotImplementedError

    def search(
        self, query: Query, *, scope: Scope | None = None, top: int = 10, by_rows: bool = False, exact: bool = False
    ) -> Answer:
        """The best ``top`` moments (of a ``SequenceQuery`` stretches), or rows.

        Args:
            query: what to look for.
            scope: where; everywhere without it.
            top: how many, at most ``queries.MOST_TOP``.
            by_rows: rows instead of moments.
            exact: compare with every row even where there is an index.

        Raises:
            UsageError: the query does not fit: a condition that is none, no such video, another length of the vector.
            ForeignFile, StorageError: a file is damaged, or a store failed.
        """
        raise NotImplementedError

    def curve(self, query: Query, video_id: str) -> Curve:
        """The score of each sample of one video.

        Raises:
            UsageError: as ``search``, or there is no such video.
        """
        raise NotImplementedError
