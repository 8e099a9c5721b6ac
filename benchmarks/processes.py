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


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python interpreter with its packages."""

    python: Path

    @classmethod
    def own(cls) -> Self:
        """vidlake's."""
        return cls(Path(sys.executable))


def is_installed(module: str, environment: Environment) -> bool:
    """Whether an import works there; some wheels want libraries that the system lacks."""
    done = subprocess.run([environment.python, "-c", f"import {module}"], capture_output=True, check=False)
    return done.returncode == 0


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


class Watched:
    """A command whose own memory is watched while it runs."""

    def __init__(self, command: Sequence[str]) -> None:
        self.most_private_bytes = 0
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

    def wait(self) -> str:
        """What it wrote to its standard output.

        Raises:
            subprocess.SubprocessError: it failed.
        """
        out, err = self._process.communicate()
        if self._process.returncode:
            raise subprocess.SubprocessError(err.decode().strip()[-500:])
        return out.decode()

    def _watch(self) -> None:
        from pipeline.extract.tally import private_bytes

        while not self._is_over.wait(0.5):
            self.most_private_bytes = max(self.most_private_bytes, private_bytes(self._process.pid))
