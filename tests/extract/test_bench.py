"""`vidlake bench`: a machine's rates on the user's own videos, and what follows from them."""

import json
from pathlib import Path
from typing import Any

from command import vidlake
from videos import video_bytes

MODEL = ("--model", "video_cnn", "--weights", "random:0", "--sample", "all")


def test_rates_and_the_stage_that_holds_the_others_up(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(video_bytes(num_frames=60))
    (tmp_path / "b.txt.mp4").write_text("no video")

    done = vidlake("bench", tmp_path, *MODEL, "--seconds", 60, "--json")  # it ends sooner, with the last video

    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["decode"]["num_videos"], found["decode"]["num_unusable"]) == (2, 1)
    assert found["decode"]["num_samples"] == 60
    assert found["decode"]["video_s"] == 60 / 25
    assert found["decode_per_core_s"] == 60 / found["decode"]["cpu_s"]
    assert max(found["model_per_s"].values()) > 0
    assert str(found["batch_size"]) in found["model_per_s"]
    assert found["bottleneck"] in {"decode", "model"}
    fastest = found["decode_per_core_s"] * found["hardware"]["num_cpus"]
    assert 0 < found["expected_per_s"] < fastest


def test_words_for_people_and_an_end_after_the_given_seconds(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(video_bytes(num_frames=20))

    done = vidlake("bench", tmp_path, *MODEL, "--batch-size", 4, "--seconds", 0.01)

    assert done.returncode == 0, done.stderr
    decoding, model, chosen, verdict = done.stdout.splitlines()
    assert "core-second" in decoding
    assert "of 1 videos" in decoding  # the decoder's start alone takes longer than 0.01 s
    assert "in batches of 4" in model
    assert "decode workers" in chosen
    assert "bottleneck" in verdict


def test_nothing_to_measure_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    done = vidlake("bench", tmp_path, *MODEL)
    assert done.returncode == 2
    assert "nothing to measure" in done.stderr.splitlines()[-1]
