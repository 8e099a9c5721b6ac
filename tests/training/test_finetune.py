"""``finetune`` as users run it: pictures in, a weights file out that extract takes; killed, it goes on."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from lakes import kill, started, table, vidlake
from moving import KINDS, label_file, make_clips
from patience import PATIENCE_S

from pipeline.models.registry import load_model
from pipeline.training.finetune.folder import CARD, CHECKPOINT, CONFUSION, METRICS, WEIGHTS

MODEL = ["--model", "timm/test_efficientnet", "--weights", "random:0"]
HOW = [*MODEL, "--sample", "all", "--epochs", "8", "--learning-rate", "0.003", "--batch-size", "8"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of each kind, one of them no video, and one more without a label; and ``labels.csv`` beside them."""
    folder = tmp_path_factory.mktemp("archive")
    rows = make_clips(folder / "clips", num=6, num_frames=6)
    (folder / "clips" / "circles_6.mp4").write_bytes(b"no video at all")
    os.link(folder / "clips" / "circles_0.mp4", folder / "clips" / "unlabelled.mp4")
    label_file(folder / "labels.csv", [*rows, {"uri": "circles_6.mp4", "label": "circles", "split": "train"}])
    return folder


def words(archive: Path, out: Path, *further: object) -> list[object]:
    return ["finetune", archive / "clips", "--labels", archive / "labels.csv", "--out", out, *HOW, *further]


@pytest.fixture(scope="module")
def calm(archive: Path, tmp_path_factory: pytest.TempPathFactory, shared_ray: str) -> tuple[Path, str]:
    """What a run leaves that nothing happens to, and what it says."""
    out = tmp_path_factory.mktemp("calm") / "out"
    done = vidlake(*words(archive, out, "--address", shared_ray))
    return out, done.stderr + done.stdout


class TestOneRun:
    """A run that nothing happens to."""

    pytestmark = pytest.mark.slow

    def test_folder_holds_what_was_promised_and_no_pictures(self, calm: tuple[Path, str]) -> None:
        out, _ = calm
        assert sorted(path.name for path in out.iterdir()) == [CARD, "_vidlake", CONFUSION, METRICS, WEIGHTS]
        assert not (out / "_vidlake" / "inputs").exists()
        assert not (out / CHECKPOINT).exists()
        assert (out / CONFUSION).read_bytes().startswith(b"\x89PNG")

    def test_metrics_are_of_each_part_beside_the_baseline(self, calm: tuple[Path, str]) -> None:
        metrics = json.loads((calm[0] / METRICS).read_text())
        assert metrics["test"]["accuracy"] >= 0.9
        assert metrics["test"]["num_units"] == metrics["validation"]["num_units"] == 12
        assert metrics["baseline"]["test"]["accuracy"] == 0.5
        assert metrics["temperature"] > 0
        assert len(metrics["training"]["validation_loss"]) == 8
        assert metrics["data"]["classes"]["circles"]["train"] == {"videos": 4, "units": 24}

    def test_unusable_video_is_named_and_costs_itself_alone(self, calm: tuple[Path, str]) -> None:
        out, said = calm
        assert "circles_6.mp4 (not_video)" in said
        assert "1 videos of the input have no label" in said
        [(uri, reason)] = json.loads((out / METRICS).read_text())["unusable"].items()
        assert (Path(uri).name, reason) == ("circles_6.mp4", "not_video")
        assert "circles_6.mp4" in (out / CARD).read_text()

    def test_weights_are_the_models_and_bring_their_labels(
        self, calm: tuple[Path, str], archive: Path, tmp_path: Path, shared_ray: str
    ) -> None:
        weights = calm[0] / WEIGHTS
        assert load_model("timm/test_efficientnet", weights=str(weights)).classes == KINDS
        clip = archive / "clips" / "slides_5.mp4"
        how = [*MODEL[:2], "--weights", weights, "--sample", "all", "--address", shared_ray]
        vidlake("extract", clip, "--out", tmp_path / "lake", *how)
        assert table(tmp_path / "lake", "features").num_rows == 6

    def test_same_command_says_that_it_is_done_and_another_is_refused(
        self, calm: tuple[Path, str], archive: Path
    ) -> None:
        out, _ = calm
        before = (out / WEIGHTS).stat().st_mtime_ns
        assert "finished already" in vidlake(*words(archive, out)).stdout
        document = json.loads(vidlake(*words(archive, out, "--json")).stdout)
        assert document["was_finished"] is True
        assert document["metrics"]["test"]["accuracy"] >= 0.9
        for further, setting in {
            ("--epochs", "3"): "--epochs is 8, not 3",
            ("--train", "head"): "--train is all, not head",
            ("--sample", "fps:2"): "--sample is all, not fps:2",
            ("--seed", "1"): "--seed is 0, not 1",
        }.items():
            assert setting in vidlake(*words(archive, out, *further), status=2).stderr
        assert (out / WEIGHTS).stat().st_mtime_ns == before


def num_epochs(out: Path) -> int:
    """Epochs in the checkpoint, whatever it is of."""
    path = out / CHECKPOINT
    return path.read_bytes()[:100_000].count(b"validation_accuracy") if path.exists() else 0


PHASES: dict[str, Callable[[Path], bool]] = {
    "decoding": lambda out: (out / "_vidlake" / "inputs" / "_vidlake" / "config.json").exists(),
    "an epoch": lambda out: num_epochs(out) >= 2,
    "the last epoch": lambda out: num_epochs(out) == 8,
    "the weights": lambda out: (out / WEIGHTS).exists(),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "says"),
    [
        pytest.param("decoding", "training on 48 pictures", marks=pytest.mark.soak),
        ("an epoch", "going on from epoch"),
        pytest.param("the last epoch", "going on from", marks=pytest.mark.soak),
        pytest.param("the weights", "finished already", marks=pytest.mark.soak),
    ],
)
def test_killed_training_goes_on_and_ends_with_the_same_bytes(
    archive: Path, calm: tuple[Path, str], tmp_path: Path, shared_ray: str, *, phase: str, says: str
) -> None:
    out = tmp_path / "out"
    job = started(*words(archive, out))
    wait_until(lambda: PHASES[phase](out), job=job)
    kill(job, whole=True)
    if says != "finished already":
        assert not (out / WEIGHTS).exists(), "it ended before it was killed"
    again = vidlake(*words(archive, out, "--address", shared_ray))
    assert says in again.stderr + again.stdout
    for name in (WEIGHTS, CONFUSION):
        assert (out / name).read_bytes() == (calm[0] / name).read_bytes(), name
    assert not (out / "_vidlake" / "inputs").exists()


@pytest.mark.soak
def test_dead_worker_is_replaced_within_the_run(archive: Path, calm: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = started(*words(archive, out))
    wait_until(lambda: num_epochs(out) >= 1, job=job)
    for process in psutil.Process(job.pid).children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
            break
    else:
        raise AssertionError("no worker of Ray Train")
    assert job.wait(timeout=PATIENCE_S) == 0
    assert (out / WEIGHTS).read_bytes() == (calm[0] / WEIGHTS).read_bytes()


@pytest.mark.soak
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two CPUs")
def test_two_workers_learn_in_step_and_the_head_alone_may_learn(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = vidlake(*words(archive, out, "--workers", "2", "--train", "head", "--epochs", "2"))
    assert "2 workers, each on a CPU" in done.stderr
    metrics = json.loads((out / METRICS).read_text())
    assert (metrics["workers"], len(metrics["training"]["train_loss"])) == (2, 2)
    before, after = (
        load_model("timm/test_efficientnet", weights=weights).backbone.state_dict()
        for weights in ("random:0", str(out / WEIGHTS))
    )
    assert all((value == after[name]).all() for name, value in before.items())


@pytest.mark.parametrize(
    ("further", "says"),
    [
        pytest.param(["--workers", "10000"], "CPUs", id="more workers than there are"),
        pytest.param(["--labels", "none.csv"], "none.csv", id="no label file"),
        pytest.param(["--labels", "other.csv"], "no row matches", id="labels of other videos"),
        pytest.param(["--labels", "bare.csv"], "no column label", id="no labels"),
        pytest.param(["--out", "lake"], "has not made", id="a folder that holds a dataset"),
        pytest.param(["--out", "weights"], "has not made", id="a folder that holds weights"),
        pytest.param(["--out", ""], "--out is empty", id="no folder"),
        pytest.param(["--sample", "fps:0"], "fps:R", id="a bad rule"),
        pytest.param(["--learning-rate", "0"], "--learning-rate", id="no learning"),
        pytest.param(["--epochs", "0"], "--epochs", id="no epochs"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    further: list[str], says: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    label_file(tmp_path / "other.csv", [{"uri": "elsewhere.mp4", "label": "circles"}])
    label_file(tmp_path / "bare.csv", [{"uri": "circles_0.mp4"}])
    for name in ("lake/_vidlake/config.json", "weights/weights.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    began = time.monotonic()
    said = vidlake(*words(archive, tmp_path / "out", *further), status=2).stderr
    assert says in said
    assert len(said.splitlines()) == 1
    assert time.monotonic() - began < 60, "nothing that takes long was started"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "says"),
    [("squeezenet1_0", "its last layer is not a linear one"), ("resnet1", "did you mean")],
    ids=["no linear layer", "no such model"],
)
def test_model_that_cannot_be_taught_is_refused(model: str, says: str, archive: Path, tmp_path: Path) -> None:
    said = vidlake(*words(archive, tmp_path / "out", "--model", model), status=2).stderr.splitlines()
    assert says in said[-1]
    assert said[:-1] == ["1 videos of the input have no label and are left out"]
    assert not (tmp_path / "out").exists()


def wait_until(is_so: Callable[[], bool], *, job: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        assert job.poll() is None, "it ended too early"
        time.sleep(0.02)
