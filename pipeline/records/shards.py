"""A part of the input: ``--shard I/N``."""

import re
from dataclasses import dataclass
from typing import Self

from pipeline.errors import UsageError

_KEY = re.compile(r"\d+-of-\d+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part ``index`` of ``count`` of the input, counted from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``I/N``.

        Raises:
            UsageError: it is not that, or I is not one of 1..N.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if match and 1 <= int(match[1]) <= int(match[2]):
            return cls(index=int(match[1]), count=int(match[2]))
        raise UsageError(f"bad shard {text!r}: use I/N with 1 <= I <= N")

    @property
    def key(self) -> str:
        """The name of its lease: ``I-of-N``."""
        return f"{self.index}-of-{self.count}"

    @property
    def shown(self) -> str:
        """What it is for messages; empty: all of the input."""
        return f"shard {self.index}/{self.count}" if self.count > 1 else ""

    def excludes(self, key: str) -> bool:
        """Whether a run of it cannot go on beside the holder of the lease of that name, which may be its own."""
        return key == self.key or (_KEY.fullmatch(key) is not None and not key.endswith(f"-of-{self.count}"))

    def advice_beside(self, key: str) -> str:
        """What to do while another run holds the lease of that name, which this one excludes."""
        count = key.rpartition("-of-")[2]
        beside = f"start shards I/{count} beside it, or " if count not in ("1", str(self.count)) else ""
        return f"{beside}wait for it to end"

    def holds(self, video_id: str) -> bool:
        """Whether a video belongs to this part: by its id, so that parts do not depend on the order of the input."""
        return int(video_id, 16) % self.count == self.index - 1


WHOLE = Shard()
"""All of the input."""
