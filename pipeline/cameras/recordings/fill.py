"""Drop now, fill later: the slots that were dropped and are recorded become rows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What a fill came to, in slots."""

    num_missing: int
    """What there was to fill when it began."""
    num_filled: int
    num_unrecorded: int
    """No closed recording has them (any more)."""
    num_failed: int
    """Their recording does not decode there."""


def fill(uri: str, *, stream: str | None, is_gated: bool) -> Filling:
    """Decode exactly the dropped slots of the recordings by the batch road, and commit them under the lease ``fill``.

    Streams may go on meanwhile. A fill that is killed is taken up by the next one; a second one changes nothing.

    Args:
        uri: of the lake.
        stream: only this one's; ``None``: all.
        is_gated: also what the motion gate held back.

    Raises:
        UsageError: there is no such lake or stream, or another fill is at work.
        StorageError: a store failed.
    """
    raise NotImplementedError
