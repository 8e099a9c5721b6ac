"""The commands about heads as a user runs them: words, one line of refusal, documents, and what a killed one leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import vidlake
from labelled_lakes import blob, make_lake
from labelling import written
from patience import PATIENCE_S

VIDEOS = {
    f"{label}{at}": blob("xy".index(label), 12, seed=30 * "xy".index(label) + at) for at in range(6) for label in "xy"
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    make_lake(folder / "lake", VIDEOS, columns={"animal": [name[0] for name in VIDEOS]})
    written(folder / "labels.csv", [{"uri": f"{name}.mp4", "label": name[0]} for name in VIDEOS])
    return folder


def document(*words: object) -> Any:
    done = vidlake(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout)


def refused(*words: object) -> str:
    done = vidlake(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--head", "svm"], "use linear, mlp, mlp:H", id="unknown-head"),
        pytest.param(["--head", "linear:3"], "bad --head 'linear:3'", id="size-of-what-has-none"),
        pytest.param(["--head", "mlp:0"], "bad --head 'mlp:0'", id="no-hidden-unit"),
        pytest.param(
            ["--head", "boosting", "--multi-label"], "boosting gives a unit one label", id="boosting-of-several"
        ),
        pytest.param(["--unit", "window:0"], "bad unit", id="no-window"),
        pytest.param(["--features", "l2,log"], "'log' is none of l2", id="unknown-step"),
        pytest.param(["--pool", "median"], "'median' is none of mean", id="unknown-pool"),
        pytest.param(["--pool", "mean,mean"], "each once", id="pool-twice"),
        pytest.param(["--validation", "0.5", "--test", "0.5"], "nothing to train on", id="shares-of-all"),
        pytest.param(["--since", "soon"], "bad --since", id="no-time"),
        pytest.param(["--learning-rate", "inf"], "finite", id="endless-steps"),
        pytest.param(["--labels", ""], "--labels is empty", id="empty-label-file"),
        pytest.param(["--labels", "none.csv"], "none.csv", id="no-label-file"),
        pytest.param(["--label", "species"], "no column species", id="no-label-column"),
    ],
)
def test_bad_words_are_refused_before_anything_is_made(lake: Path, tmp_path: Path, words: list[str], told: str) -> None:
    line = refused("train", lake / "lake", "--out", tmp_path / "heads" / "h", *words)

    assert told in line
    assert not (tmp_path / "heads").exists()


def test_train_evaluate_and_heads(lake: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "heads" / "animals", ["--labels", lake / "labels.csv"]
    first = document("train", lake / "lake", "--out", out, *labels, "--epochs", 5)
    done = vidlake("train", lake / "lake", "--out", out, *labels, "--epochs", 5, "--head", "tree", "--no-use")

    assert (first["version"], first["is_new"], first["current"]) == (1, True, 1)
    assert f"{out}@2 (version 1 is in use): accuracy " in done.stdout
    assert f"model card: {out}/2/README.md" in done.stdout
    measured = document("evaluate", out, lake / "lake", *labels)
    assert measured["accuracy"] == first["metrics"]["test"]["accuracy"]
    assert "average precision" in vidlake("evaluate", f"{out}@2", lake / "lake", *labels, "--on", "all").stdout
    [listed] = document("heads", tmp_path / "heads")["heads"]
    assert (listed["name"], listed["current"], [each["kind"] for each in listed["versions"]]) == (
        "animals",
        1,
        ["linear", "tree"],
    )
    assert document("heads", out, "--use", 2)["current"] == 2
    lines = vidlake("heads", tmp_path / "heads").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["head", "version", "in"],
        ["animals", "1", "linear"],
        ["animals", "2", "yes"],
    ]
    assert "has no version 9: it has 1, 2" in refused("heads", out, "--use", 9)
    assert "no heads at" in refused("heads", tmp_path / "nothing")


def test_a_dry_run_of_the_manifests_column_says_what_there_is(lake: Path, tmp_path: Path) -> None:
    words = ["train", lake / "lake", "--label", "animal", "--out", tmp_path / "heads" / "h", "--dry-run"]

    report = document(*words)

    assert report["labels"]["matched"] == 12
    assert {label: sum(part["units"] for part in of.values()) for label, of in report["classes"].items()} == {
        "x": 72,
        "y": 72,
    }
    assert "split by video (12 groups)" in vidlake(*words).stdout
    assert not (tmp_path / "heads").exists()


def test_options_may_stand_in_a_file(lake: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("label: animal\nhead: mlp:8\nepochs: 2\ntest: 0.2\n")

    made = document("train", lake / "lake", "--out", tmp_path / "heads" / "h", "--config", config)

    assert made["metrics"]["made_by"]["words"]["head"] == "mlp:8"
    assert made["metrics"]["made_by"]["test"] == 0.2


@pytest.mark.slow
def test_a_library_that_is_missing_is_named_with_its_extra(lake: Path, tmp_path: Path) -> None:
    hiding = (
        "import importlib.util as u, sys; known = u.find_spec; "
        "u.find_spec = lambda name, *a: None if name == 'sklearn' else known(name, *a); "
        "from pipeline.cli.main import main; main()"
    )
    words = ["train", str(lake / "lake"), "--label", "animal", "--out", str(tmp_path / "heads" / "h")]

    done = subprocess.run(
        [sys.executable, "-c", hiding, *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )

    assert done.returncode == 2
    assert done.stderr == "vidlake: train needs scikit-learn, which is not installed: pip install 'vidlake[train]'\n"
    assert not (tmp_path / "heads").exists()


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(lake: Path, tmp_path: Path) -> None:
    words = ["train", str(lake / "lake"), "--label", "animal", "--head", "mlp:16", "--epochs", "40", "--out"]
    assert vidlake(*words, tmp_path / "calm" / "h").returncode == 0
    began = time.monotonic()
    assert vidlake(*words, tmp_path / "calm" / "other").returncode == 0
    seconds = time.monotonic() - began
    out = tmp_path / "killed" / "h"
    for share in (0.5, 0.7, 0.9):
        run = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words, str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(share * seconds)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()

    assert vidlake(*words, out).returncode == 0

    assert (out / "current").read_text().strip() == "1"
    for name in ("head.json", "weights.safetensors", "metrics.json", "confusion.png"):
        assert (out / "1" / name).read_bytes() == (tmp_path / "calm" / "h" / "1" / name).read_bytes()
