"""What of a dataset one program at a time may be at work on, and which of these keep each other out.

Runs of shards of one number go on side by side, a run of another number does not. Streams, each by its name, and
``fill`` go on beside them and beside each other.
"""

from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import UsageError
from pipeline.records.shards import Shard
from pipeline.records.streams import check_stream_name

_STREAM = "stream:"


class Slot(Protocol):
    """What a lease is of: a ``Shard`` of the input, that is ``run:I-of-N``, or one of those below."""

    @property
    def key(self) -> str:
        """What its lease is called, in files and tokens."""

    @property
    def shown(self) -> str:
        """Which it is, for messages; empty: nothing to tell it from."""

    def excludes(self, key: str) -> bool:
        """Whether it cannot be held while another program holds the lease of this name, which may be its own."""

    def advice_beside(self, key: str) -> str:
        """What to do while another program holds the lease of this name, which this one excludes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSlot(Slot):
    """``stream:NAME``: whoever writes a stream's rows."""

    stream: str

    def __post_init__(self) -> None:
        check_stream_name(self.stream)

    @property
    def key(self) -> str:
        """``stream:NAME``."""
        return f"{_STREAM}{self.stream}"

    @property
    def shown(self) -> str:
        """``stream NAME``."""
        return f"stream {self.stream}"

    def excludes(self, key: str) -> bool:
        """Its own alone."""
        return key == self.key

    def advice_beside(self, key: str) -> str:
        """A stream has one writer."""
        return "give the stream another name"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillSlot(Slot):
    """``fill``: whoever makes rows of what was dropped."""

    @property
    def key(self) -> str:
        """``fill``."""
        return "fill"

    @property
    def shown(self) -> str:
        """``fill``."""
        return "fill"

    def excludes(self, key: str) -> bool:
        """Its own alone."""
        return key == self.key

    def advice_beside(self, key: str) -> str:
        """There is one at a time."""
        return "wait for it to end"


FILL = FillSlot()


def slot_named(key: str) -> Slot:
    """The slot whose lease is called so.

    Raises:
        ValueError: none is.
    """
    try:
        if key == FILL.key:
            return FILL
        if key.startswith(_STREAM):
            return StreamSlot(stream=key.removeprefix(_STREAM))
        return Shard.parse(key.replace("-of-", "/"))
    except UsageError:
        raise ValueError(f"no slot is called {key!r}") from None
