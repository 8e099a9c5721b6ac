"""A cluster that is nothing but a head, and grows when a run asks: Ray's own autoscaler, with nodes on this machine."""

import json
from pathlib import Path

import pytest
from clusters import growing_cluster
from conftest import ClipFactory
from lakes import MODEL, features, vidlake

NODE_TYPES = {"cpus": ({"CPU": 1}, 2), "gpus": ({"CPU": 1, "GPU": 1}, 1)}


@pytest.mark.slow
def test_run_that_asks_for_nodes_gets_them_and_models_run_where_the_gpus_are(
    clips: ClipFactory, tmp_path: Path
) -> None:
    out = tmp_path / "lake"
    with growing_cluster(NODE_TYPES) as cluster:
        assert cluster.num_alive() == 1
        words = ["extract", clips(num_frames=100), "--out", out, *MODEL, "--address", cluster.address]
        done = vidlake(*words, "--min-cpus", "2", "--min-gpus", "1", "--precision", "fp32", "--json")
        assert "grow to 2 CPUs and 1 GPUs; it has 0 CPUs and 0 GPUs" in done.stderr
        assert cluster.num_alive() >= 3
    assert json.loads(done.stdout)["totals"]["videos"]["ok"] == 1
    assert len(features(out)) == 4
