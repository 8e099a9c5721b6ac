"""Why a connection is over, from what its two processes said and how they ended."""

import os
import signal
import stat

import msgspec

from pipeline.cameras.pulling.ended import FAILURES, Ended, EndReason, Failure
from pipeline.cameras.pulling.processes import Child
from pipeline.media.live.messages import StreamOver
from pipeline.media.process.wire import EXIT_OUT_OF_MEMORY, HungUp, Nonsense

_DYING_S = 0.3


def opened_file(path: str) -> int | Ended:
    """A file that is to be played, open for reading; or why it cannot be."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Ended(reason=EndReason.UNREACHABLE, detail=error.strerror or "it does not open")
    state = os.fstat(fd)
    if stat.S_ISREG(state.st_mode) and state.st_size:
        return fd
    os.close(fd)
    return Ended(reason=EndReason.UNREADABLE, detail="an empty file" if stat.S_ISREG(state.st_mode) else "no file")


def why_over(over: StreamOver | None, decoder: Child, connector: Child | None) -> Ended:
    """Why nothing more comes: ``over`` is the decoder's last word, if it had one."""
    if over is not None and over.has_ended:
        return Ended(reason=EndReason.ENDED, detail=over.detail)
    if over is None:
        return _death_of(decoder)
    failure = None if connector is None else _failure_of(connector)
    if failure is not None:
        return Ended(reason=failure.reason, detail=failure.detail)
    if not over.is_readable:
        return Ended(reason=EndReason.UNREADABLE, detail=over.detail)
    status = None if connector is None else connector.exit_status(timeout_s=0)
    if status:  # its last line is not shown: it knows secrets
        reason = EndReason.KILLED if status < 0 else EndReason.CRASHED
        return Ended(reason=reason, detail=f"the connector ended with status {status}")
    return Ended(reason=EndReason.CLOSED, detail=over.detail or "the other side hung up")


def _failure_of(connector: Child) -> Failure | None:
    """What the connector says of it, for which it gets a little time."""
    try:
        message = connector.channel.receive(timeout_s=_DYING_S)
        return None if message is None else FAILURES.decode(message)
    except (HungUp, Nonsense, msgspec.DecodeError):
        connector.exit_status(timeout_s=_DYING_S)
        return None


def _death_of(decoder: Child) -> Ended:
    status = decoder.exit_status(timeout_s=_DYING_S)
    if status == EXIT_OUT_OF_MEMORY:
        return Ended(reason=EndReason.CRASHED, detail="the decoder used more memory than it may")
    reason = EndReason.KILLED if status == -signal.SIGKILL else EndReason.CRASHED
    return Ended(reason=reason, detail=f"the decoder: {decoder.said(status)}")
