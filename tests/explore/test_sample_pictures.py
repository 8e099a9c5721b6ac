"""The picture of a sample: a thumbnail that was kept, or what the decoder gives of the same frame, and nothing else."""

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pyarrow.dataset as pads
import pytest
from conftest import ClipFactory
from real_lakes import real_lake

from pipeline.explore.viewing.lake_view import LakeView, NoSuchVideo
from pipeline.explore.viewing.pictures import NoPicture, SamplePictures
from pipeline.records.resources import DecodeLimits

THUMBNAIL_PX = 64
LIMITS = DecodeLimits(timeout_s=30)


@pytest.fixture(scope="module")
def kept(clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with thumbnails, of videos of different kinds, which lie beside it."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "in").mkdir()
    videos = {
        "b-frames.mp4": clips(num_frames=60, gop=24, bframes=3),
        "upright.mp4": clips(num_frames=30, rotation=90, seed=1),
        "rounded.mkv": clips(num_frames=40, container="mkv", fps=Fraction(30000, 1001), seed=2),
        "without-pts.h264": clips(num_frames=40, container="h264", seed=3),
        "gap.mp4": clips(num_frames=40, pts=lambda at: 40 * at + (2000 if at > 20 else 0), seed=4),
    }
    for name, path in videos.items():
        shutil.copy(path, folder / "in" / name)
    real_lake(folder / "lake", [folder / "in"], sample="fps:5", thumbnail_px=THUMBNAIL_PX)
    return folder


def rows(kept: Path, name: str) -> list[dict[str, object]]:
    table = pads.dataset(kept / "lake" / "thumbnails").to_table()
    found = [row for row in table.to_pylist() if row["uri"].endswith(f"/{name}")]
    assert len(found) > 3
    return found


@pytest.fixture(scope="module")
def decoded(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamplePictures]:
    """The same lake without its thumbnails: all is decoded."""
    bare = tmp_path_factory.mktemp("bare") / "lake"
    shutil.copytree(kept / "lake", bare, ignore=shutil.ignore_patterns("thumbnails"))
    pictures = SamplePictures(LakeView(str(bare)), limits=LIMITS)
    yield pictures
    pictures.close()


@pytest.mark.parametrize(
    "name",
    [
        "b-frames.mp4",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("upright.mp4", "rounded.mkv", "without-pts.h264", "gap.mp4")
        ),
    ],
)
def test_what_is_decoded_is_the_thumbnail_that_the_run_kept(kept: Path, decoded: SamplePictures, name: str) -> None:
    for row in rows(kept, name):
        place = {"epoch": row["epoch"], "pts": row["pts"]}
        assert decoded.jpeg(row["video_id"], **place, longest_px=THUMBNAIL_PX) == row["jpeg"], row["time_s"]  # type: ignore[arg-type]


def test_a_thumbnail_that_was_kept_is_shown_though_the_video_has_gone(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "lake", tmp_path / "lake")
    pictures = SamplePictures(LakeView(str(tmp_path / "lake")), limits=LIMITS)
    for row in rows(kept, "gap.mp4"):
        assert pictures.jpeg(str(row["video_id"]), epoch=0, pts=int(str(row["pts"]))) == row["jpeg"]
    pictures.close()


@pytest.mark.parametrize("without_plan", [False, True], ids=["planned", "without a plan"])
def test_a_video_that_was_replaced_or_has_gone_has_no_picture(
    clips: ClipFactory, tmp_path: Path, without_plan: bool
) -> None:
    video = tmp_path / "a.mp4"
    shutil.copy(clips(num_frames=60), video)
    real_lake(tmp_path / "lake", [video])
    if without_plan:
        shutil.rmtree(tmp_path / "lake/_vidlake/plan")
    view = LakeView(str(tmp_path / "lake"))
    [row] = view.videos().rows
    pts = int(view.samples(str(row["video_id"])).pts[1])
    pictures = SamplePictures(view, limits=LIMITS)
    assert pictures.jpeg(str(row["video_id"]), epoch=0, pts=pts)[:3] == b"\xff\xd8\xff"
    for spoil in (lambda: shutil.copy(clips(num_frames=90, seed=9), video), video.unlink):
        spoil()
        fresh = SamplePictures(view, limits=LIMITS)
        with pytest.raises(NoPicture):
            fresh.jpeg(str(row["video_id"]), epoch=0, pts=pts)
        fresh.close()
    pictures.close()


@pytest.mark.parametrize("pts", [-1, 1, 10**12])
def test_a_time_at_which_there_is_no_frame_has_no_picture(kept: Path, decoded: SamplePictures, pts: int) -> None:
    video_id = str(rows(kept, "b-frames.mp4")[0]["video_id"])
    with pytest.raises(NoPicture):
        decoded.jpeg(video_id, epoch=0, pts=pts)


def test_only_videos_of_the_lake_are_read(decoded: SamplePictures) -> None:
    for other in ("0" * 20, "../../etc/passwd", "", "x" * 1000):
        with pytest.raises(NoSuchVideo):
            decoded.jpeg(other, epoch=0, pts=0)


def test_a_decoder_that_takes_too_long_is_ended(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "lake", tmp_path / "lake", ignore=shutil.ignore_patterns("thumbnails"))
    hasty = SamplePictures(LakeView(str(tmp_path / "lake")), limits=DecodeLimits(timeout_s=1e-6))
    row = rows(kept, "b-frames.mp4")[2]
    with pytest.raises(NoPicture):
        hasty.jpeg(str(row["video_id"]), epoch=0, pts=int(str(row["pts"])))
    hasty.close()
