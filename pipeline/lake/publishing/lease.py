"""One program a slot at a time: its lease, and the fence that keeps a dead run's workers from publishing.

Of two whose slots exclude each other, the second is refused while the first lives.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from pipeline.lake.publishing.slots import Slot
from pipeline.lake.publishing.store import Store


class Lease(Protocol):
    """A held lease, renewed in the background until released."""

    @property
    def token(self) -> str:
        """What the run's workers publish with."""

    def guard(self) -> AbstractContextManager[None]:
        """While the body runs, a lease that cannot be renewed for an unforeseen reason ends it as a ``RunError``."""

    def release(self) -> None:
        """Give the lease back; one that was taken over meanwhile, or a store that fails, is left alone."""


class Fence(Protocol):
    """The way into a dataset for the workers of one run.

    All methods raise ``LeaseLost`` where another run has taken over, and ``StorageError`` where the store failed.
    """

    def publish(self, name: str, data: bytes, *, stand_in: bytes) -> bool:
        """As ``Store.publish`` of a name that is not taken yet; a bucket's name gets a mark of the run.

        ``stand_in`` is a file without rows, for the name of a file that must not be published any more.
        """

    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        """As ``Store.replace``."""

    def remove(self, name: str) -> None:
        """As ``Store.remove``."""


class Backend(Protocol):
    """One kind of place for a dataset: its files, and the leases that fit it. A backend survives pickling."""

    @property
    def store(self) -> Store:
        """The dataset's files."""

    def acquire(self, *, slot: Slot) -> Lease:
        """Take the lease of a slot of the dataset, which exists and can be written to, from a dead run if need be.

        Raises:
            UsageError: a living run holds it, or one that excludes it; or the file system has no locks.
            StorageError: a worker of an earlier run does not finish publishing, or the store failed.
        """

    def check(self, *, slot: Slot) -> None:
        """Refuse early, before anything is started for nothing. Writes nothing.

        Raises:
            UsageError: as ``acquire``, as far as that can be told.
        """

    def fence(self, *, token: str) -> Fence:
        """The fence of the run with this token."""
