"""Other processes that a benchmark starts: in which environment, what they answer, what CPU time they used."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

CORES = len(os.sched_getaffinity(0))
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python interpreter with its packages."""

    python: Path

    @classmethod
    def own(cls) -> Self:
        """vidlake's."""
        return cls(Path(sys.executable))


def why_not(module: str, environment: Environment) -> str | None:
    """Why an import does not work there, in the words of Python; ``None`` where it does.

    Some wheels want libraries that the system lacks.
    """
    command = [str(environment.python), "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return (lines or ["no message"])[-1][:200]


def ask(module: str, words: Sequence[str], environment: Environment, *, limit_s: float | None = None) -> Any:
    """Run ``python -m module words``; returns the JSON of its last line.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than ``limit_s``.
    """
    command = [str(environment.python), "-m", module, *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=limit_s)
    except BaseException:
        kill_tree(process.pid)
        raise
    if process.returncode:
        last = err.strip().splitlines()[-1:] or ["no message"]
        raise subprocess.SubprocessError(f"{' '.join(words[:2])}: {last[0][:300]}")
    return json.loads(out.strip().splitlines()[-1])


def kill_tree(pid: int) -> None:
    """End a process and all that it started."""
    try:
        process = psutil.Process(pid)
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)


def cpu_s(*children: int | None) -> float:
    """CPU seconds of this process, of children that ended, and of the living ones named."""
    times = os.times()
    total = time.process_time() + times.children_user + times.children_system
    for pid in children:
        if pid is not None:
            used = psutil.Process(pid).cpu_times()
            total += used.user + used.system
    return total


def private_bytes(pid: int) -> int:
    """Memory that a process shares with no other and has written to (``Private_Dirty``); 0 where it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (OSError, UnicodeDecodeError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty:"))


def own_cpu_s(pid: int) -> float:
    """CPU seconds of a process, without its children's; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


class Watched:
    """A command in a session of its own: the memory and the CPU time of its first process, seen from outside."""

    def __init__(self, command: Sequence[str]) -> None:
        self.most_private_bytes = 0
        self.cpu_s = 0.0
        """Of the first process alone; of Ray's jobs that is the driver."""
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._process.poll() is None:
            kill_tree(self._process.pid)

    def wait(self, *, limit_s: float | None = None) -> str:
        """What it wrote to its standard output.

        Raises:
            subprocess.SubprocessError: it failed, or took longer than ``limit_s``.
        """
        out, err = self._process.communicate(timeout=limit_s)
        if self._process.returncode:
            raise subprocess.SubprocessError(err.decode(errors="replace").strip()[-500:])
        return out.decode()

    def _watch(self) -> None:
        pid = self._process.pid
        while not self._is_over.wait(_LOOK_EVERY_S):
            self.cpu_s = max(self.cpu_s, own_cpu_s(pid))
            self.most_private_bytes = max(self.most_private_bytes, private_bytes(pid))
