"""The command line as a user runs it: a process of its own."""

import subprocess
import sys


def vidlake(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
