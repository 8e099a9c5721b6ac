"""One run a shard at a time: its lease, and the fence that keeps a dead run's workers from publishing.

Runs of different shards of one number go on side by side; every other second run is refused while the first lives.
"""

from typing import Protocol


class Lease(Protocol):
    """A held lease, renewed in the background until released."""

    @property
    def token(self) -> str:
        """What the run's workers publish with."""

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
