"""A dataset as a store of files: what every place that can hold one offers."""

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from pipeline.errors import StorageError

TEMPORARIES = "_vidlake/tmp"
"""Where no reader's glob looks."""

FOLDER_MARK = "head.json"
"""A folder that was published as one is there once this file is: a bucket cannot rename folders."""


class MissingFile(StorageError):
    """A file that was asked for by its name is not in the dataset."""


class StoreRefused(StorageError):
    """The store's final answer about the whole place, or about who asks: no such bucket, not with these credentials."""


class Store(Protocol):
    """Where a dataset lies. Names are relative posix paths, such as ``features/part-00000.parquet``.

    All methods raise ``StorageError`` where the store fails, after retries; ``StoreRefused`` where its answer is final.
    A store survives pickling.
    """

    @property
    def uri(self) -> str:
        """Of the dataset, canonical."""

    def folders(self, folder: str) -> list[str]:
        """The sorted names of the folders right in a folder; empty: in the root.

        A bucket also names folders that are being published: those without a ``FOLDER_MARK``.
        """

    def list(self, folder: str) -> list[str]:
        """The sorted names of a folder's files, each relative to the root; none where there is no such folder."""

    def versions(self, folder: str) -> dict[str, str]:
        """The same names, each with what tells the file from its replacement."""

    def version(self, name: str) -> str | None:
        """What tells a file from its replacement; ``None``: there is none of that name."""

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            MissingFile: there is none of that name.
        """

    def open_input(self, name: str) -> pa.NativeFile:
        """A file for random access, as Parquet readers like it. Raises as ``read`` does."""

    def publish(self, name: str, data: bytes, *, overwrite: bool = False) -> bool:
        """Make a file appear whole under its final name, durable when this returns.

        Returns:
            Whether ``data`` is what the name now stands for; False: the name was taken and ``overwrite`` not given.
        """

    def publish_folder(self, name: str, files: Mapping[str, bytes]) -> bool:
        """Make a folder with these files appear whole, durable when this returns; what a dead writer left gives way.

        Args:
            name: of the folder. Two writers of one name are kept apart by a lease.
            files: their content by their names, ``FOLDER_MARK`` among them.

        Returns:
            Whether ``files`` is what the folder now holds; False: the name was taken.
        """

    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        """Put a file in the place of the one of that ``version``; ``None``: where there is none yet.

        Returns:
            Whether that was done; False: it is no longer that version.
        """

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, which nobody is writing to; one that is not there is fine."""

    def clear_temporaries(self) -> None:
        """Remove what writers that died have left on its way; what a living one is writing stays."""

    def ensure_writable(self) -> None:
        """Make sure that files can be published.

        Raises:
            UsageError: they cannot; what was made on the way is removed again.
        """
