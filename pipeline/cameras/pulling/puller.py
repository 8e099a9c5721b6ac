"""One connection to a source, whose processes can be killed at any time."""

from types import TracebackType
from typing import Self

from pipeline.cameras.pulling.pulled import Pulled, PullLimits, Wishes
from pipeline.cameras.pulling.source import Source


class Puller:
    """A connection that is made once; for another one, make another puller.

    It starts two processes: one speaks to the source and knows its address and credentials, the other decodes and knows
    neither. Whatever they do, no call of this class waits for them.
    """

    def __init__(self, source: Source, *, wishes: Wishes, limits: PullLimits | None = None) -> None:
        """Start to connect.

        Raises:
            RunError: no process can be started.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self, timeout_s: float) -> Pulled | None:
        """What came next, in order; ``None`` where nothing comes in that time.

        A reader that is slow finds dropped frames (``Frame.is_dropped``), never old ones; frames that are neither
        samples nor for the detector may be left out then. After ``Ended`` only ``Ended`` comes.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End it, in any state within 0.2 s: the processes are gone and their sockets closed. A second call is none."""
        raise NotImplementedError
