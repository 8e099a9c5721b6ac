"""Replay proof: each live row beside the row that the batch road makes of the recording."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a proof came to, in rows."""

    num_rows: int
    num_equal: int
    num_different: int
    """Beyond what the precision allows."""
    num_absent: int
    """A recording covers their time and has no frame of their pts, or does not decode there."""
    num_expired: int
    """Older than ``--keep`` of their stream."""
    num_unrecorded: int
    """No closed recording covers them."""
    worst: float
    """The largest difference, divided by max(1, max|f|)."""

    @property
    def holds(self) -> bool:
        """Whether no row differs or is absent, and at least one was compared."""
        return self.num_equal > 0 and not self.num_different and not self.num_absent


def verify(uri: str, *, stream: str | None) -> Verdict:
    """Hold the live rows of the lake against its recordings.

    Raises:
        UsageError: there is no such lake or stream.
        StorageError: a store failed.
    """
    raise NotImplementedError
