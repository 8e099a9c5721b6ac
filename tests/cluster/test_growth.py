"""A cluster that is nothing but a head, and grows when a run asks: Ray's own autoscaler, with nodes on this machine."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from clusters import growing_cluster
from conftest import ClipFactory
from lakes import MODEL, features, started

NODE_TYPES = {"cpus": ({"CPU": 1}, 2), "gpus": ({"CPU": 1, "GPU": 1}, 1)}


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_run_that_asks_for_nodes_gets_them_and_is_sized_for_them(clips: ClipFactory, tmp_path: Path) -> None:
    out = tmp_path / "lake"
    most_alive = 1
    with growing_cluster(NODE_TYPES) as cluster:
        assert cluster.num_alive() == 1
        words = ["extract", clips(num_frames=100), "--out", out, *MODEL, "--address", cluster.address, "--json"]
        growth = ["--min-cpus", "2", "--min-gpus", "1", "--precision", "fp32"]
        run = started(*words, *growth, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while run.poll() is None:
            most_alive = max(most_alive, cluster.num_alive())
            time.sleep(0.5)
        told, errors = run.communicate()
    assert run.returncode == 0, errors
    assert most_alive >= 3, "the head, and a node of each type"
    assert "grow to 2 CPUs and 1 GPUs; it has 0 CPUs and 0 GPUs" in errors
    assert "1 model actors" in errors
    assert json.loads(told)["totals"]["videos"]["ok"] == 1
    assert len(features(out)) == 4
