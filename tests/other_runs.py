"""Other runs and their workers, as real processes that are told what to do when."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patience import PATIENCE_S

TESTS = str(Path(__file__).parent)
_FORKING = """
import json, os, sys, traceback
sys.path[:0] = json.loads(sys.argv[1])
exec(sys.argv[2])
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try:
            program, *sys.argv[1:] = json.loads(line)
            exec(program, {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

HOLD = """
import sys, time
from pipeline.lake.publishing import holders
from pipeline.records.shards import Shard
from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import backend_at
try:
    held = backend_at(sys.argv[1]).acquire(slot=Shard.parse(sys.argv[2]))
except UsageError as error:
    print("refused", error, flush=True)
else:
    print(held.token, flush=True)
    time.sleep(600)
"""
KILLED_AT_FSYNC = """
import os, sys
import pipeline.lake.publishing.folder_store as publish
real, left = os.fsync, [int(sys.argv[3])]
def fsync(fd):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), 9)
    real(fd)
publish.os.fsync = fsync
"""
"""How a program begins that is killed where it asks for the so many-th time, its third argument, that a file last."""

_PUBLISH = """
print("ready", flush=True)
sys.stdin.readline()
try:
    is_new = backend_at(sys.argv[1]).fence(token=sys.argv[2]).publish("features/x", b"rows", stand_in=b"none")
    print("published" if is_new else "there already", flush=True)
except holders.LeaseLost:
    print("refused", flush=True)
"""
PUBLISH = f"""
import sys
from pipeline.lake.publishing import holders
from pipeline.lake.publishing.backends import backend_at
{_PUBLISH}
"""
PUBLISH_HALTING = f"""
import sys
from pipeline.lake.publishing import holders
from pipeline.lake.publishing.bucket_store import BucketStore
from pipeline.lake.publishing.folder_store import FolderStore
from pipeline.lake.publishing.backends import backend_at

def halting(publish):
    def halt(store, name, data, **options):
        if name.startswith("features/x"):
            print("inside", flush=True)
            sys.stdin.readline()
        return publish(store, name, data, **options)
    return halt

for kind in (FolderStore, BucketStore):
    kind.publish = halting(kind.publish)
{_PUBLISH}
"""


@dataclass(frozen=True, slots=True)
class Forks:
    """Runs one program after the other, each in a process of its own that has been forked when all was imported."""

    parent: subprocess.Popen[str]

    def run(self, program: str, *arguments: object) -> tuple[int, list[str]]:
        """The exit status, negative for a signal, and the lines that it printed."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps([program, *map(str, arguments)]) + "\n")
        self.parent.stdin.flush()
        lines: list[str] = []
        for line in self.parent.stdout:
            if line.startswith("exit "):
                return int(line.removeprefix("exit ")), lines
            lines.append(line.rstrip())
        raise AssertionError("what forks has ended")


@contextlib.contextmanager
def forks(imports: str, *, folders: tuple[str, ...] = ()) -> Iterator[Forks]:
    """What starts programs that are killed again and again, at the cost of one start.

    Args:
        imports: what all programs import, which must start no thread.
        folders: of modules, beside those of the tests that all share.
    """
    command = [sys.executable, "-c", _FORKING, json.dumps([TESTS, *folders]), imports]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            yield Forks(parent)
        finally:
            parent.kill()


@contextlib.contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def tell(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("go\n")
    started.stdin.flush()


@contextlib.contextmanager
def worker_inside(uri: str, token: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that was told to publish, and halts right before it does."""
    with process(PUBLISH_HALTING, uri, token) as worker:
        line(worker)
        tell(worker)
        assert line(worker) == "inside"
        yield worker


def edit_lease(path: Path, *, age_s: float = 0.0, **values: object) -> None:
    """What another holder would have written into the file of a lease, and last renewed ``age_s`` ago."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    os.utime(path, (time.time() - age_s,) * 2)


def stop(started: subprocess.Popen[str]) -> None:
    started.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{started.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(started: subprocess.Popen[str]) -> None:
    started.kill()
    started.wait()
