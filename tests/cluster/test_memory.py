"""A driver's memory: as large as what it holds, not as what it once held. A model's: what it computes in, at once."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED

SCRIPT = """
import json, os, sys, threading
import numpy as np
import pyarrow as pa
from pipeline.cluster.memory import give_back_what_is_freed
from pipeline.extract.tally import private_bytes

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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's and /proc's")
def test_what_is_freed_is_given_back() -> None:
    most, left = grown_mb("yes")
    assert most > 30
    assert left < most / 2
    assert left < grown_mb("no")[1] / 2


COMPUTING = """
import resource, sys, threading
import numpy as np
from pipeline.cluster.memory import keep_what_is_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.zeros(1, np.uint8) + np.ones(100_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def compute():
    faults()
    print(faults())

if sys.argv[1] == "keep":
    keep_what_is_freed()
if sys.argv[2] == "main":
    compute()
else:
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
"""


def page_faults(*words: str, environment: Mapping[str, str]) -> int:
    """What large arrays cost, once as many have been there before."""
    # numpy's own advice to use huge pages would make the faults fewer, and each of them dearer.
    whole = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0", **environment}
    command = [sys.executable, "-c", COMPUTING, *words]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=whole).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_model_computes_in_memory_that_it_had_before() -> None:
    assert page_faults("-", "main", environment={}) > 10_000
    assert page_faults("keep", "main", environment={}) < 100
    assert page_faults("-", "thread", environment=KEEPING_WHAT_IS_FREED) < 100
