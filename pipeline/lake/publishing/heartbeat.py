"""What keeps a lease from running out: a sign of life every few seconds, given in the background."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from pipeline.errors import RunError, StorageError, UsageError
from pipeline.lake.publishing.holders import RENEWED_EVERY_S, LeaseLost

_STOPPED_WITHIN_S = 0.1
_WOKEN_AGAIN_AFTER_S = 0.5
# Not SIGINT, which a shell has its background jobs ignore.
_WAKE = signal.SIGUSR2


class Heartbeat:
    """Calls ``beat`` every few seconds, until it is stopped or ``beat`` raises ``LeaseLost``.

    A store that fails is asked again at the next beat. An error that nobody has foreseen ends the beating, and with it
    the run: its main thread is interrupted, because a run without a lease works for nothing.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._failure: BaseException | None = None
        self._is_guarding = False
        self._waking = threading.Lock()
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

    @contextmanager
    def guard(self, uri: str) -> Iterator[None]:
        """See to it that what interrupts the body for want of a beat says so; ``uri``: of the dataset.

        Raises:
            RunError: there will be no further beat, for a reason that nobody has foreseen.
        """
        if threading.current_thread() is not threading.main_thread():  # only that one can be woken
            yield
            return
        before = signal.signal(_WAKE, self._interrupt)
        self._is_guarding = True
        try:
            if self._failure is not None:
                self._interrupt()
            yield
        except KeyboardInterrupt:
            if self._failure is None:
                raise
            what = f"{type(self._failure).__name__}: {self._failure}".partition("\n")[0]
            raise RunError(
                f"the lease of {uri} could not be renewed ({what}); run the same command again to resume"
            ) from self._failure
        finally:
            self._is_guarding = False
            with self._waking:  # no signal is sent once it has no handler any more
                signal.signal(_WAKE, before)

    def _interrupt(self, number: int = _WAKE, frame: FrameType | None = None) -> None:
        if self._is_guarding:
            self._is_guarding = False  # what the interrupted body does to end is not interrupted again
            raise KeyboardInterrupt

    def _run(self) -> None:
        with _Unforeseen(self._fail):
            while not self._stop.wait(RENEWED_EVERY_S):
                try:
                    self._beat()
                except LeaseLost:
                    return  # the run's workers are told so when they publish
                except (StorageError, UsageError, OSError):
                    continue

    def _fail(self, error: BaseException) -> None:
        if self._stop.is_set():
            return
        self._failure = error
        # A signal, because it also wakes a main thread that waits in the system; and again, because one that comes just
        # before a thread begins to wait does not wake it.
        while True:
            with self._waking:
                if not self._is_guarding:
                    return
                signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
            if self._stop.wait(_WOKEN_AGAIN_AFTER_S):
                return


class _Unforeseen:
    """Hands over the error that its body raises, in place of the thread's traceback on stderr."""

    def __init__(self, handle: Callable[[BaseException], None]) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self._handle(error)
        return True
