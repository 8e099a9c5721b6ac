"""Who holds a lease, whether that run still lives, and the messages for a run that comes second."""

import os
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import RunError, UsageError
from pipeline.records.documents import Document, document_of, text, whole
from pipeline.records.shards import WHOLE, Shard

LEASES = "_vidlake/leases"
RENEWED_EVERY_S = 10.0
RUNS_OUT_AFTER_S = 60.0


class LeaseLost(RunError):
    """Another run has taken the dataset over; what this one still holds must not be published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lease of a shard: enough to tell, on the same machine, whether it still lives."""

    token: str
    """Of this one run, with its shard in front."""
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: int
    """Of the process, since boot: a number that a later process with the same pid cannot have, whatever the clock."""

    @classmethod
    def me(cls, shard: Shard) -> Self:
        """A new lease for this process."""
        return cls(
            token=f"{shard.slot}.{uuid.uuid4().hex}",
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
            shard_of(holder.token)
        except (KeyError, TypeError, UsageError):
            raise ValueError("no holder of a lease") from None
        return holder

    def to_json(self) -> Document:
        """Plain values."""
        return asdict(self)

    @property
    def where(self) -> str:
        """Who that is, for messages."""
        shard = shard_of(self.token)
        part = f"shard {shard.index}/{shard.count}, " if shard.count > 1 else ""
        return f"{part}process {self.pid} on {self.host}"

    def is_running(self) -> bool | None:
        """Whether its process lives; ``None``: that cannot be seen from here."""
        here = Holder.me(WHOLE)
        if (self.boot_id, self.pid_namespace) != (here.boot_id, here.pid_namespace):
            return None
        try:
            state, start_ticks = _state_of(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            # Under hidepid the processes of others have no folder, but do take signals.
            return None if _exists(self.pid) else False
        return start_ticks == self.start_ticks and state not in ("Z", "X")


def slot_of(token: str) -> str:
    """The ``Shard.slot`` that a token is for."""
    return token.partition(".")[0]


def shard_of(token: str) -> Shard:
    """The shard that a token is for."""
    return Shard.parse(slot_of(token).replace("-of-", "/"))


def is_fresh(renewed_s: float | None, *, now_s: float, is_sure: bool) -> bool:
    """Whether a lease that was last renewed then still counts; ``None``: it never was.

    ``is_sure``: both times are by one clock. By two, a time that has not come yet says nothing.
    """
    if renewed_s is None:
        return False
    return now_s - renewed_s < RUNS_OUT_AFTER_S and (is_sure or now_s >= renewed_s)


def in_use(uri: str, *, where: str, slot: str, shard: Shard) -> UsageError:
    """What to say to a run of ``shard`` while one of the ``slot`` lives."""
    count = slot.rpartition("-of-")[2]
    beside = f"start shards I/{count} beside it, or " if count not in ("1", str(shard.count)) else ""
    return UsageError(f"{uri} is in use by another run ({where}): {beside}wait for it to end, or stop it")


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
