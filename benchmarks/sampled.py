"""The memory of this process, looked at several times a second by another one: its own CPU time stays the product's.

``python -m benchmarks.sampled PID`` does the looking, until its standard input is closed.
"""

import os
import subprocess
import sys
from select import select
from typing import Self

from benchmarks.processes import private_bytes

_LOOK_EVERY_S = 0.2


class Sampled:
    """The most memory that this process has for itself while it is open."""

    def __init__(self) -> None:
        self.most_private_bytes = private_bytes(os.getpid())

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.sampled", str(os.getpid())]
        self._sampler = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._sampler.stdout is not None
        self._sampler.stdout.readline()  # the first look
        return self

    def __exit__(self, *_: object) -> None:
        found, _nothing = self._sampler.communicate()
        self.most_private_bytes = max(self.most_private_bytes, int(found))


def main() -> None:
    """Look until the input ends; prints the most at last."""
    pid = int(sys.argv[1])
    most = private_bytes(pid)
    print(most, flush=True)
    while not select([sys.stdin], [], [], _LOOK_EVERY_S)[0]:
        most = max(most, private_bytes(pid))
    print(most)


if __name__ == "__main__":
    main()
