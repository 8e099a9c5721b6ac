"""``vidlake search`` and ``vidlake index``: what they print, and what they refuse in one line."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import ClipFactory
from labelled_lakes import make_lake
from lakes import vidlake
from PIL import Image
from real_lakes import real_lake
from rows import DIM
from serving import encoded


@dataclass(frozen=True, slots=True)
class Lake:
    """A lake of two clips, and the frame that is the first sample of one."""

    folder: Path
    clip: Path
    frame: Path


@pytest.fixture(scope="module")
def lake(clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "in").mkdir()
    for seed, name in enumerate(("one.mp4", "two.mp4")):
        shutil.copy(clips(num_frames=90, seed=seed), folder / "in" / name)
    real_lake(folder / "lake", [folder / "in"])
    with av.open(str(folder / "in/two.mp4")) as container:
        (folder / "frame.png").write_bytes(
            encoded(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8))
        )
    return Lake(folder / "lake", folder / "in/two.mp4", folder / "frame.png")


def test_a_frame_is_said_to_be_the_same_picture(lake: Lake) -> None:
    done = vidlake("search", lake.folder, "--picture", lake.frame)
    first = done.stdout.splitlines()[0]
    assert first.startswith("1.0000  ")
    assert str(lake.clip) in first
    assert "the same picture" in first
    assert done.stdout.splitlines()[-1] == "16 rows compared"


def test_json_is_all_that_stands_on_stdout(lake: Lake) -> None:
    shutil.rmtree(lake.folder / "_vidlake" / "search", ignore_errors=True)
    done = vidlake("search", lake.folder, "--at", "two.mp4@1", "--rows", "--top", 3, "--json")
    document = json.loads(done.stdout)
    assert [row["same_picture"] for row in document["rows"]] == [True, False, False]
    assert "unpacking" in done.stderr
    again = vidlake("search", lake.folder, "--at", "two.mp4@1", "--rows", "--top", 3, "--json")
    assert again.stderr == ""
    assert json.loads(again.stdout) == document
    streamed = json.loads(
        vidlake("search", lake.folder, "--at", "two.mp4@1", "--rows", "--top", 3, "--json", "--no-cache").stdout
    )
    assert [(row["uri"], row["pts"]) for row in streamed["rows"]] == [
        (row["uri"], row["pts"]) for row in document["rows"]
    ]


def test_no_cache_leaves_nothing_behind(lake: Lake) -> None:
    shutil.rmtree(lake.folder / "_vidlake" / "search", ignore_errors=True)
    vidlake("search", lake.folder, "--at", "two.mp4@1", "--no-cache")
    assert not list((lake.folder / "_vidlake").rglob("*.new"))


def test_a_video_is_found_with_its_offset(lake: Lake) -> None:
    done = vidlake("search", lake.folder, "--video", lake.clip, "--json")
    best = json.loads(done.stdout)["moments"][0]
    assert best["uri"] == str(lake.clip)
    assert (best["start_s"], best["offset_s"], best["matched_s"]) == (0, 0, pytest.approx(3.6, abs=0.1))


def test_each_moment_gets_a_thumbnail(lake: Lake, tmp_path: Path) -> None:
    done = vidlake("search", lake.folder, "--at", "two.mp4@1", "--thumbnails", tmp_path / "pictures", "--json")
    moments = json.loads(done.stdout)["moments"]
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == len(moments)
    assert pictures[0].name.startswith("0001_two.mp4_")
    for picture in pictures:
        with Image.open(picture) as opened:
            assert opened.format == "JPEG"


def test_words_are_classes_and_unknown_ones_get_the_nearest(lake: Lake) -> None:
    assert vidlake("search", lake.folder, "--words", "17").stdout.splitlines()[0] == "label: 17"
    assert "near it are" in vidlake("search", lake.folder, "--words", "1777", status=2).stderr


def test_an_index_is_measured_and_then_used(lake: Lake) -> None:
    done = vidlake("index", lake.folder)
    found = re.search(r"recall@10 (\d\.\d+)", done.stdout)
    assert found is not None
    assert float(found[1]) >= 0.99
    looked_up = json.loads(vidlake("search", lake.folder, "--at", "two.mp4@1", "--json").stdout)
    exact = json.loads(vidlake("search", lake.folder, "--at", "two.mp4@1", "--json", "--exact").stdout)
    assert (looked_up["indexed"], looked_up["scanned"]) == (16, 0)
    assert (exact["indexed"], exact["scanned"]) == (0, 16)
    assert looked_up["moments"] == exact["moments"]
    shutil.rmtree(lake.folder / "_vidlake" / "index")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one query"),
        (["--at", "two.mp4@1", "--words", "17"], "give one query"),
        (["--at", "two.mp4"], "names no moment of a video"),
        (["--at", "none.mp4@1"], "has no video none.mp4"),
        (["--picture", "none.png"], "--picture"),
        (["--video", "none.mp4"], "--video"),
        (["--at", ""], "--at is empty"),
        (["--at", "two.mp4@1", "--where", "camera = "], "bad --where"),
        (["--at", "two.mp4@1", "--where", "1 = 1; drop table videos"], "bad --where"),
        (["--at", "two.mp4@1", "--since", "yesterday"], "bad --since"),
        (["--at", "two.mp4@1", "--top", "0"], "--top"),
        (["--at", "two.mp4@1", "--head", "heads/people"], "give --words too"),
        (["--words", "17", "--head", "none/people"], "there is no such head"),
        (["--at", "two.mp4@1", "--thumbnails", "/proc/none"], "/proc/none"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_one_line(lake: Lake, words: list[str], message: str) -> None:
    status = 1 if "/proc/none" in words else 2
    done = vidlake("search", lake.folder, *words, status=status)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_text_is_no_picture_and_no_video(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no picture at all")
    for option in ("--picture", "--video"):
        done = vidlake("search", lake.folder, option, tmp_path / "text", status=2)
        assert f"{option} {tmp_path / 'text'}: " in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_of_several_models_names_them(tmp_path: Path) -> None:
    for name in ("resnet18", "video_cnn"):
        make_lake(tmp_path / name, {"a": np.ones((3, DIM), np.float32)})
    assert "resnet18, video_cnn" in vidlake("search", tmp_path, "--at", "a.mp4@1", status=2).stderr
    assert "no dataset" in vidlake("search", tmp_path / "none", "--at", "a.mp4@1", status=2).stderr


def test_a_model_that_is_not_ours_is_named_before_it_is_loaded(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", {"a": np.ones((3, DIM), np.float32)})
    for name in ("config.json",):
        path = tmp_path / "lake" / "_vidlake" / name
        path.write_text(path.read_text().replace('"tiny"', '"evil:make"'))
    (tmp_path / "text").write_text("x")
    assert "add --model evil:make" in vidlake("search", lake, "--picture", tmp_path / "text", status=2).stderr
    assert vidlake("search", lake, "--at", "a.mp4@1").stdout  # which needs no model
