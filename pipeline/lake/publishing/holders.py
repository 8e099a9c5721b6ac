"""Who holds a lease, whether that run still lives, and the messages for a run that comes second."""

import os
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import RunError, UsageError
from pipeline.lake.publishing.slots import FILL, Slot, slot_named
from pipeline.records.documents import Document, document_of, text, whole

LEASES = "_vidlake/leases"
RENEWED_EVERY_S = 10.0
RUNS_OUT_AFTER_S = 60.0


class LeaseLost(RunError):
    """Another run has taken the dataset over; what this one still holds must not be published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lease of a slot: enough to tell, on the same machine, whether it still lives."""

    token: str
    """Of this one run, with its slot in front."""
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: int
    """Of the process, since boot: a number that a later process with the same pid cannot have, whatever the clock."""

    @classmethod
    def me(cls, slot: Slot) -> Self:
        """A new lease for this process."""
        return cls(
            token=f"{slot.key}.{uuid.uuid4().hex}",
            host=socket.gethostname(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            pid_namespace=os.readlink("/proc/self/ns/pid"),
            pid=os.getpid(),
            start_ticks=_state_of(os.getpid())[1],
        )

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The inverse of ``to_json``.

        Raises:
            ValueError: it is damaged.
        """
        try:
            values = document_of(document, name="holder")
            holder = cls(
                token=text(values, "token"),
                host=text(values, "host"),
                boot_id=text(values, "boot_id"),
                pid_namespace=text(values, "pid_namespace"),
                pid=whole(values, "pid"),
                start_ticks=whole(values, "start_ticks"),
            )
        except (KeyError, TypeError):
            raise ValueError("no holder of a lease") from None
        slot_named(key_of(holder.token))
        return holder

    def to_json(self) -> Document:
        """Plain values."""
        return asdict(self)

    @property
    def where(self) -> str:
        """Who that is, for messages."""
        part = slot_named(key_of(self.token)).shown
        return f"{part}{', ' if part else ''}process {self.pid} on {self.host}"

    def is_running(self) -> bool | None:
        """Whether its process lives; ``None``: that cannot be seen from here."""
        here = Holder.me(FILL)
        if (self.boot_id, self.pid_namespace) != (here.boot_id, here.pid_namespace):
            return None
        try:
            state, start_ticks = _state_of(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            # Under hidepid the processes of others have no folder, but do take signals.
            return None if _exists(self.pid) else False
        return start_ticks == self.start_ticks and state not in ("Z", "X")


def key_of(token: str) -> str:
    """The key of the slot that a token is for."""
    return token.rpartition(".")[0]


def is_fresh(renewed_s: float | None, *, now_s: float, is_sure: bool) -> bool:
    """Whether a lease that was last renewed then still counts; ``None``: it never was.

    ``is_sure``: both times are by one clock. By two, a time that has not come yet says nothing.
    """
    if renewed_s is None:
        return False
    return now_s - renewed_s < RUNS_OUT_AFTER_S and (is_sure or now_s >= renewed_s)


def in_use(uri: str, *, where: str, key: str, slot: Slot) -> UsageError:
    """What to say to whoever wants the ``slot`` while the holder of that ``key`` lives."""
    return UsageError(f"{uri} is in use by another run ({where}): {slot.advice_beside(key)}, or stop it")


def lost(uri: str) -> LeaseLost:
    """What to say to a run whose lease is another's."""
    return LeaseLost(f"{uri} was taken over by another run, which goes on with the work: follow that one")


def _state_of(pid: int) -> tuple[str, int]:
    """A process's state letter and when it started, in clock ticks since boot."""
    # The name, in parentheses, may hold spaces and parentheses itself.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
