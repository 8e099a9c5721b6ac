"""What a process loads is what it needs: a worker that starts waits for nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What the decoder's child process must never load: it is started for every worker, and again after every crash.
TOO_HEAVY_FOR_THE_CHILD = ("torch", "torchvision", "timm", "ray", "pyarrow", "pandas", "fsspec", "httpx", "obstore")
FOR_TRAINING = ("ray", "sklearn", "scipy", "matplotlib", "pipeline.lake", "pipeline.training")
"""A server answers by heads without them."""


def loaded_with(module: str) -> set[str]:
    show = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_the_package_itself_loads_nothing_of_ours() -> None:
    """Each import of a module below loads ``pipeline/__init__.py`` first, in the decoder's child as well.

    ``pipeline.read`` imports the reader when it is called.
    """
    assert {name for name in loaded_with("pipeline") if name.startswith("pipeline.")} == set()


@pytest.mark.parametrize(
    ("work", "library", "other"), [("video_work", "av", "PIL"), ("still_work", "PIL", "av")], ids=["videos", "stills"]
)
def test_a_decoder_child_loads_its_library_and_nothing_heavy(work: str, library: str, other: str) -> None:
    loaded = loaded_with(f"pipeline.media.process.child, pipeline.media.process.{work}")

    assert library in loaded
    assert other not in loaded
    assert loaded.isdisjoint(TOO_HEAVY_FOR_THE_CHILD)


def test_a_live_decoder_loads_av_and_nothing_heavy() -> None:
    loaded = loaded_with("pipeline.media.process.live_child")

    assert "av" in loaded
    assert loaded.isdisjoint({*TOO_HEAVY_FOR_THE_CHILD, "PIL", "ssl"})


def test_what_speaks_to_cameras_decodes_nothing() -> None:
    loaded = loaded_with("pipeline.cameras.pulling.connector.main")

    assert loaded.isdisjoint({*TOO_HEAVY_FOR_THE_CHILD, "av", "numpy", "PIL"})


@pytest.mark.slow
def test_workers_that_plan_or_commit_do_not_wait_for_torch() -> None:
    loaded = loaded_with("pipeline.extract.dataflow")

    assert {"ray.data", "pipeline.stages.plan", "pipeline.lake.dataset"} <= loaded
    assert "torch" not in loaded


def test_workers_that_decode_do_without_torch() -> None:
    """Its CPU library alone resizes for them: 220 MB less for each, and a second of CPU."""
    loaded = loaded_with("pipeline.extract.operators, pipeline.stages.decode, pipeline.models.preprocess")

    assert {"av", "torch", "torchvision", "timm"}.isdisjoint(loaded)


@pytest.mark.slow
def test_whoever_holds_the_streams_does_without_torch() -> None:
    """Only the actors of the streams prepare pictures."""
    loaded = loaded_with("pipeline.cameras.streams, serve.cameras.host")

    assert {"ray", "pipeline.cameras.watched", "serve.cameras.sources"} <= loaded
    assert "torch" not in loaded


@pytest.mark.slow
def test_whoever_holds_a_model_waits_for_no_compiler() -> None:
    paths = (ROOT / "pipeline" / "models" / "zoo").glob("[!_]*.py")
    loaded = loaded_with(", ".join(f"pipeline.models.zoo.{path.stem}" for path in paths))

    assert {"torchvision", "timm"} <= loaded
    assert loaded.isdisjoint({"torch._dynamo", "torch._inductor", "sympy", "triton"})


@pytest.mark.slow
def test_a_server_of_heads_loads_nothing_that_trains_them() -> None:
    paths = (ROOT / "pipeline" / "models" / "heads").glob("[!_]*.py")
    loaded = loaded_with(", ".join(f"pipeline.models.heads.{path.stem}" for path in paths))

    assert {"torch", "pipeline.models.heads.registry"} <= loaded
    assert loaded.isdisjoint(FOR_TRAINING)


@pytest.mark.slow
def test_the_host_of_streams_waits_for_no_network() -> None:
    loaded = loaded_with("pipeline.cli.watching")

    assert {"ray", "pipeline.cameras.streams"} <= loaded
    assert loaded.isdisjoint({"torch", "av", "scipy", "ray.data"})


@pytest.mark.slow
def test_the_command_that_starts_a_server_waits_for_no_model_library() -> None:
    """Its replica is another process, and loads them while the command has nothing to do."""
    assert loaded_with("serve.app").isdisjoint({"torch", "torchvision", "timm", "av"})
    assert "ray.serve" not in loaded_with("serve.local"), "Ray is started first"
