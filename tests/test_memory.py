"""A driver's memory: as large as what it holds, not as what it once held."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, sys, threading
import numpy as np
import pyarrow as pa
from pipeline.memory import give_back_what_is_freed
from pipeline.report import private_bytes

def footers():
    for _ in range(10):
        kept.append(pa.array(np.arange(50_000)).cast(pa.string()))

if sys.argv[1] == "yes":
    give_back_what_is_freed()
kept = []
before = private_bytes(os.getpid())
threads = [threading.Thread(target=footers) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
most = private_bytes(os.getpid())
kept.clear()
print(json.dumps([(most - before) / 1e6, (private_bytes(os.getpid()) - before) / 1e6]))
"""


def grown_mb(is_on: str) -> tuple[float, float]:
    """What many threads' tables took, and what of it is left when they are gone."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, is_on], check=True, capture_output=True, text=True)
    most, left = json.loads(done.stdout)
    return most, left


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's and /proc's")
def test_what_is_freed_is_given_back() -> None:
    most, left = grown_mb("yes")
    assert most > 30
    assert left < most / 2
    assert left < grown_mb("no")[1] / 2
