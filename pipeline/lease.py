"""One run at a time: the lease on a dataset, and the fence that keeps a dead run's workers from publishing.

The fence is exact: a worker publishes under a shared lock on the lease's lock file and only while the lease is its
run's own; whoever takes the lease over holds the exclusive lock. So nothing of the old run can be in flight when the
new one reads what is done, and nothing of it arrives later.

Whether the lease may be taken over is the other question. Its holder's process is looked for where that can be seen
(the same boot of the same machine, the same process namespace); elsewhere the lease counts as held until it has not
been renewed for a minute. Renewing touches the file and writes nothing, so it goes on while the disk is full.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pipeline.errors import RunError, StorageError, UsageError
from pipeline.publish import MissingFile, Store

LEASE = "_vidlake/lease.json"
_LOCK = "_vidlake/lease.lock"
_RENEWED_EVERY_S = 10.0
_RUNS_OUT_AFTER_S = 60.0
# A worker that was stopped in the middle of publishing holds the lock for as long as it is stopped.
_LOCK_WAIT_S = 120.0
_LOCK_POLL_S = 0.05
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT})


class LeaseLost(RunError):
    """Another run has taken the dataset over; what this one still holds must not be published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease: enough to tell, on the same machine, whether it still lives."""

    token: str
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: int
    """Of the process, since boot: a number that a later process with the same pid cannot have, whatever the clock."""

    @classmethod
    def me(cls) -> "Holder":
        """A new lease for this process."""
        return cls(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            pid_namespace=os.readlink("/proc/self/ns/pid"),
            pid=os.getpid(),
            start_ticks=_state_of(os.getpid())[1],
        )

    def is_running(self) -> bool | None:
        """Whether its process lives; ``None``: that cannot be seen from here."""
        here = Holder.me()
        if (self.boot_id, self.pid_namespace) != (here.boot_id, here.pid_namespace):
            return None
        try:
            state, start_ticks = _state_of(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            # Under hidepid the processes of others have no folder, but do take signals.
            return None if _exists(self.pid) else False
        return start_ticks == self.start_ticks and state not in ("Z", "X")


class Lease:
    """A held lease, renewed in the background until released."""

    def __init__(self, root: Path, holder: Holder) -> None:
        self._root = root
        self._holder = holder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls, root: Path) -> "Lease":
        """Take the lease of the dataset at ``root``, which exists and can be written to, from a dead run if need be.

        Raises:
            UsageError: a living run holds it, or the file system has no locks.
            StorageError: a worker of an earlier run does not finish publishing, or the store failed.
        """
        holder = Holder.me()
        with _locked(root, fcntl.LOCK_EX):
            cls.check(root)
            Store(str(root)).publish(LEASE, json.dumps(asdict(holder)).encode(), overwrite=True)
        return cls(root, holder)

    @staticmethod
    def check(root: Path) -> None:
        """Refuse early, before anything is started for nothing. Writes nothing.

        Raises:
            UsageError: a living run holds the lease.
        """
        current = _read(root)
        if current is None:
            return
        is_running = None if current.holder is None else current.holder.is_running()
        if is_running or (is_running is None and current.age_s < _RUNS_OUT_AFTER_S):
            raise UsageError(f"{root} is in use by another run ({current.where}): wait for it to end, or stop it")

    @property
    def token(self) -> str:
        """What the run's workers publish with."""
        return self._holder.token

    def release(self) -> None:
        """Give the lease back; one that was taken over meanwhile, or a store that fails, is left alone."""
        self._stop.set()
        self._thread.join(timeout=2 * _LOCK_POLL_S)
        # A lease that stays behind does no harm: its process is about to be dead.
        with contextlib.suppress(StorageError, UsageError), _locked(self._root, fcntl.LOCK_EX):
            current = _read(self._root)
            if current is not None and current.is_of(self.token):
                Store(str(self._root)).remove(LEASE)

    def _renew(self) -> None:
        while not self._stop.wait(_RENEWED_EVERY_S):
            try:
                with fenced(self._root, self.token):
                    os.utime(self._root / LEASE)
            except LeaseLost:
                return
            except (StorageError, UsageError, OSError):
                continue  # what passes is overcome, and what does not, stops the workers' publishing too


@contextlib.contextmanager
def fenced(root: Path, token: str) -> Iterator[None]:
    """While the body runs, the lease cannot change hands.

    Raises:
        LeaseLost: it already has.
        StorageError: the store failed.
    """
    with _locked(root, fcntl.LOCK_SH):
        current = _read(root)
        if current is None or not current.is_of(token):
            raise LeaseLost(f"{root} was taken over by another run, which goes on with the work: follow that one")
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The lease file: its holder, or ``None`` where it is damaged, and how long ago it was renewed.

    The age is by the file's own clock, so that two machines whose clocks differ do not misjudge each other.
    """

    holder: Holder | None
    age_s: float

    @property
    def where(self) -> str:
        if self.holder is None:
            return f"its lease is damaged, and runs out {_RUNS_OUT_AFTER_S:.0f} s after it was last written"
        return f"process {self.holder.pid} on {self.holder.host}"

    def is_of(self, token: str) -> bool:
        return self.holder is not None and self.holder.token == token


def _read(root: Path) -> _Found | None:
    try:
        data = Store(str(root)).read(LEASE)
        age_s = time.time() - (root / LEASE).stat().st_mtime
    except (MissingFile, FileNotFoundError):
        return None
    except OSError as error:
        raise StorageError(f"{root / LEASE}: {error.strerror}") from None
    except StorageError:
        if not root.is_dir():  # a file where the dataset's folder should be: no lease, and no dataset
            return None
        raise
    try:
        document = json.loads(data)
        values = {field.name: document[field.name] for field in fields(Holder)}
        numbers = {name: int(values[name]) for name in ("pid", "start_ticks")}
        holder = Holder(**{**values, **numbers})
    except (ValueError, KeyError, TypeError):
        holder = None
    return _Found(holder=holder, age_s=age_s)


@contextlib.contextmanager
def _locked(root: Path, operation: int) -> Iterator[None]:
    try:
        fd = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        kind = UsageError if error.errno in _NOT_WRITABLE else StorageError
        raise kind(f"cannot write to {root / _LOCK}: {error.strerror}") from None
    try:
        _lock(fd, operation, root)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, operation: int, root: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{root}: a worker of an earlier run has been publishing for {_LOCK_WAIT_S:.0f} s: "
                    "wait for it or stop it, and run the same command again"
                ) from None
            time.sleep(_LOCK_POLL_S)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise UsageError(
                    f"the file system of {root} has no file locks ({error.strerror}), which keep two runs apart: "
                    "give another --out"
                ) from None
            raise StorageError(f"{root / _LOCK}: {error.strerror}") from None


def _state_of(pid: int) -> tuple[str, int]:
    """A process's state letter and when it started, in clock ticks since boot."""
    # The name, in parentheses, may hold spaces and parentheses itself.
    words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return words[0], int(words[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
