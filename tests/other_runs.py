"""Other runs and their workers, as real processes that are told what to do when."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from pipeline.lease import Lease
lease = Lease.acquire(Path(sys.argv[1]))
print(lease.token, flush=True)
time.sleep(600)
"""
PUBLISH = """
import sys, time
from pathlib import Path
from pipeline.lease import LeaseLost, fenced
root, token = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
try:
    with fenced(root, token):
        print("inside", flush=True)
        sys.stdin.readline()
        (root / "published").touch()
    print("published", flush=True)
except LeaseLost:
    print("refused", flush=True)
"""


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


def stop(started: subprocess.Popen[str]) -> None:
    started.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{started.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
