"""A cluster that is nothing but a head, and grows when a run asks: Ray's own autoscaler, with nodes on this machine."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from clusters import LocalCluster, growing_cluster
from conftest import ClipFactory
from lakes import MODEL, features, started

NUM_VIDEOS = 150
NODE_TYPES = {"cpus": ({"CPU": 1}, 2), "gpus": ({"CPU": 1, "GPU": 1}, 1)}


@pytest.mark.soak
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


def decoding_nodes(cluster: LocalCluster) -> list[psutil.Process]:
    """The raylets of nodes that the autoscaler has started and that decode now."""
    found = []
    for process in cluster.nodes[0].family():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if process.name() == "raylet" and any(map(is_decoding, process.children())):
                found.append(process)
    return found


def is_decoding(worker: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return "decode_and_embed" in "".join(worker.cmdline())
    return False


@pytest.mark.soak
def test_lost_node_is_asked_for_again(clips: ClipFactory, tmp_path: Path) -> None:
    """Tasks ask for what they take: those that find no node left wait at Ray, and the autoscaler sees them."""
    (tmp_path / "archive").mkdir()
    for number in range(NUM_VIDEOS):
        os.link(clips(num_frames=150), tmp_path / "archive" / f"{number}.mp4")
    out = tmp_path / "lake"
    with growing_cluster({"cpus": ({"CPU": 1}, 2)}) as cluster:
        words = ["extract", tmp_path / "archive", "--out", out, *MODEL, "--sample", "all", "--address", cluster.address]
        run = started(*words, "--min-cpus", "2", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def wait_for(count: int) -> list[psutil.Process]:
            while True:
                assert run.poll() is None, run.communicate()
                if len(at_work := decoding_nodes(cluster)) == count:
                    return at_work
                time.sleep(0.2)

        first, _second = wait_for(2)
        first.kill()
        wait_for(1)
        wait_for(2)
        told, errors = run.communicate()
    assert run.returncode == 0, errors
    totals = json.loads(told)["totals"]
    assert (totals["videos"]["ok"], totals["num_pending"]) == (NUM_VIDEOS, 0)
    assert len(features(out)) == totals["num_samples"]
