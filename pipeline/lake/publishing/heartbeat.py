"""What keeps a lease from running out: a sign of life every few seconds, given in the background."""

import threading
from collections.abc import Callable

from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing.holders import RENEWED_EVERY_S, LeaseLost

_STOPPED_WITHIN_S = 0.1


class Heartbeat:
    """Calls ``beat`` every few seconds, until it is stopped or ``beat`` raises ``LeaseLost``.

    Other errors are overcome, or else they stop the workers' publishing too.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    @property
    def is_beating(self) -> bool:
        """Whether there will be another beat."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """No beat begins after this; one that has begun is hardly waited for."""
        self._stop.set()
        self._thread.join(timeout=_STOPPED_WITHIN_S)

    def _run(self) -> None:
        while not self._stop.wait(RENEWED_EVERY_S):
            try:
                self._beat()
            except LeaseLost:
                return
            except (StorageError, UsageError, OSError):
                continue
