"""One connection after another, for ever: what ends one, how long to wait, and what is told of it."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pipeline.cameras.hosting.reconnecting import BackOff
from pipeline.cameras.hosting.sessions import Sessions
from pipeline.cameras.hosting.tally import Tally
from pipeline.cameras.pulling.pulled import Ended, EndReason, Frame, Opened, Pulled, Recorded
from pipeline.errors import RunError
from pipeline.records.streams import GapReason, StreamState

_LOG = logging.getLogger(__name__)
_LONGEST_GOP_S = 60.0
"""A camera that is joined in the middle of a GOP shows nothing until the next keyframe, and is given so long."""
_READ_S = 0.1
"""How long a connection is listened to at a time: a stop waits no longer than this."""


class Connection(Protocol):
    """What ``Puller`` is: one connection, which never blocks longer than it is told to."""

    @property
    def heard_at(self) -> float | None:
        """When something last came, by ``time.monotonic``: packets that no picture is made of yet, too.

        ``None``: it is still being started.
        """
        ...

    def read(self, timeout_s: float) -> Pulled | None:
        """What came next; ``None``: nothing in that time."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Why a connection is over."""

    reason: str
    gap: GapReason | None = GapReason.DISCONNECTED
    """What the time until the next session counts as; ``None``: there is nothing to come back to."""


class Connections:
    """Pulls a source until it is stopped, whatever becomes of each connection."""

    def __init__(
        self, open_puller: Callable[[], Connection], *, sessions: Sessions, tally: Tally, stall_s: float, is_file: bool
    ) -> None:
        """Nothing is connected yet.

        Args:
            open_puller: connects once.
            sessions: take what comes in.
            tally: of the stream.
            stall_s: without a picture for so long, a connection is given up.
            is_file: the source is played once, to its end.
        """
        self._open_puller = open_puller
        self._sessions = sessions
        self._tally = tally
        self._stall_s = stall_s
        self._is_file = is_file
        self._is_stopping = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "pull")

    async def run(self) -> str:
        """Pull until the source is over or ``stop`` is called; returns why it ended."""
        back_off = BackOff()
        while True:
            over = await self._connection(back_off)
            if self._is_stopping.is_set():
                return "stopped"
            if over.gap is None:
                return over.reason
            if over.gap is GapReason.STALLED:
                self._tally.become(StreamState.STALLED, over.reason)
            self._tally.last_error = over.reason
            self._tally.become(StreamState.RECONNECTING, over.reason)
            try:
                async with asyncio.timeout(back_off.pause_s()):
                    await self._is_stopping.wait()
                return "stopped"
            except TimeoutError:
                self._tally.count("reconnects")

    def stop(self) -> None:
        """End the connection and make no other."""
        self._is_stopping.set()

    def close(self) -> None:
        """Give the thread back; ``run`` has returned."""
        self._thread.shutdown(wait=False)

    async def _connection(self, back_off: BackOff) -> Over:
        loop = asyncio.get_running_loop()
        try:
            puller = await loop.run_in_executor(self._thread, self._open_puller)
        except RunError as error:  # no process can be started now: perhaps later
            return Over(reason=str(error))
        try:
            over = await self._play(puller, back_off)
        except Exception as error:  # noqa: BLE001  whatever one connection does, the stream comes back
            _LOG.exception("a connection ended by a fault of vidlake's own")
            over = Over(reason=f"a fault of vidlake's own: {type(error).__name__}: {error}")
        finally:
            await loop.run_in_executor(self._thread, puller.close)
        self._sessions.connection_over(over.gap)
        return over

    async def _play(self, puller: Connection, back_off: BackOff) -> Over:
        loop = asyncio.get_running_loop()
        silence = _Silence(puller)
        while not self._is_stopping.is_set():
            pulled = await loop.run_in_executor(self._thread, puller.read, _READ_S)
            match pulled:
                case Opened():
                    self._sessions.opened(pulled)
                case Frame():
                    silence.broken()
                    await self._sessions.frame(pulled)
                    back_off.has_worked()
                    self._tally.become(StreamState.PLAYING, "pictures come")
                case Recorded():
                    self._sessions.recorded(pulled)
                case Ended():
                    return self._ended(pulled)
                case None if silence.grown_s() > self._stall_s:
                    return Over(reason=f"no picture for {self._stall_s:g} s", gap=GapReason.STALLED)
            if not self._is_file and self._sessions.lateness_s > self._stall_s:
                return Over(reason="pictures come later and later", gap=GapReason.STALLED)
        return Over(reason="stopped", gap=None)

    def _ended(self, ended: Ended) -> Over:
        if self._is_file and ended.reason is EndReason.ENDED:
            return Over(reason="ended", gap=None)
        return Over(reason=f"{ended.reason.value}: {ended.detail}" if ended.detail else ended.reason.value)


class _Silence:
    """For how long a camera shows nothing.

    Only the time in which it was listened to counts: a machine that was asleep, or busy elsewhere, is no camera that
    stalls. While the first keyframe is waited for, a packet is a sign of life, too.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard_at = connection.heard_at
        self._joining_s: float | None = 0.0  # ``None``: a picture came
        self._lasted_s = 0.0

    def broken(self) -> None:
        """A picture came."""
        self._joining_s, self._lasted_s = None, 0.0

    def grown_s(self) -> float:
        """How long it lasts, now that nothing came for another ``_READ_S``."""
        heard_at = self._connection.heard_at
        if heard_at is None:
            return 0.0
        self._lasted_s += _READ_S
        if self._joining_s is not None:
            self._joining_s += _READ_S
            if heard_at != self._heard_at and self._joining_s <= _LONGEST_GOP_S:
                self._lasted_s = 0.0
            self._heard_at = heard_at
        return self._lasted_s
