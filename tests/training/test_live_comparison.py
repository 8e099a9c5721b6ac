"""``evaluate --live``: the server's answers for the videos of a part are those of the batch."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import vidlake
from conftest import ClipFactory
from labelling import written
from served_heads import put, use
from serving import KEY, Live, serving

from pipeline.errors import UsageError
from pipeline.training.evaluate import EvaluateRequest, evaluate
from pipeline.training.live_comparison import LiveComparison, largest_difference
from serve.settings import Access, HeadSettings, Limits

MODEL = ("--model", "video_cnn", "--weights", "random:0")
LABELS = ("ant", "bee")
LONG_BYTES = 200_000


@pytest.fixture(scope="module")
def archive(clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory, shared_ray: str) -> Path:
    """Videos named for their labels, a long one among them, and one of which a manifest asks for a part."""
    folder = tmp_path_factory.mktemp("archive")
    for at in range(4):
        shutil.copy(clips(num_frames=60, seed=at), folder / f"{'ant' if at % 2 else 'bee'}_{at}.mp4")
    shutil.copy(clips(num_frames=400, width=640, height=480), folder / "ant_long.mp4")
    shutil.copy(clips(num_frames=60, seed=9), folder / "bee_range.mp4")
    rows: list[dict[str, object]] = [
        {"uri": str(video), "end_s": "1" if "range" in video.name else ""} for video in sorted(folder.glob("*.mp4"))
    ]
    manifest = written(folder / "manifest.csv", rows)
    done = vidlake("extract", manifest, "--out", folder / "lake", *MODEL, "--sample", "fps:5", "--address", shared_ray)
    assert done.returncode == 0, done.stderr
    names = [Path(str(row["uri"])).name for row in rows]
    written(folder / "labels.csv", [{"uri": name, "label": name[:3], "split": "test"} for name in names])
    return folder


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    put(tmp_path, "frame", labels=LABELS)
    put(tmp_path, "frame", labels=LABELS, seed=1, is_in_use=False)
    put(tmp_path, "window", unit="window:1", steps=("delta",), pool=("mean", "std"), labels=LABELS)
    return tmp_path


@pytest.fixture
def live(heads: Path) -> Iterator[Live]:
    limits = Limits(decoders=1, max_body_bytes=LONG_BYTES, max_duration_s=60)
    with serving(heads=HeadSettings(folder=str(heads)), limits=limits) as running:
        yield running


def compared(archive: Path, head: str, url: str) -> LiveComparison:
    request = EvaluateRequest(
        head=head,
        lake=str(archive / "lake"),
        labels_file=str(archive / "labels.csv"),
        label_column="label",
        on="test",
        out=None,
        live=url,
    )
    live = evaluate(request, say=lambda _: None).live
    assert live is not None
    return live


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_units"), [("frame", 4 * 12), ("window", 4 * 3)])
def test_answers_of_the_server_are_those_of_the_batch(
    archive: Path, heads: Path, live: Live, name: str, num_units: int
) -> None:
    found = compared(archive, f"{heads}/{name}", live.url)
    assert found.largest_difference is not None
    assert found.largest_difference <= 1e-5
    assert (found.num_videos, found.num_units) == (4, num_units)
    assert found.left_out == {"body_too_large": 1, "of a range": 1}
    assert "2 videos left out" in str(found)


@pytest.mark.slow
def test_video_that_was_replaced_is_left_out(archive: Path, heads: Path, live: Live) -> None:
    (archive / "bee_0.mp4").touch()
    found = compared(archive, f"{heads}/frame", live.url)
    assert (found.num_videos, found.left_out["changed"]) == (3, 1)


def test_largest_difference_is_that_of_any_probability() -> None:
    units = [
        {"time_s": 0.0, "labels": [{"label": "bee", "probability": 0.75}, {"label": "ant", "probability": 0.25}]},
        {"time_s": 0.2, "labels": [{"label": "ant", "probability": 0.5}]},
    ]
    batch = np.array([[0.25, 0.75], [0.625, 0.375]], np.float32)
    assert largest_difference(units, times_s=np.array([0.0, 0.2]), probabilities=batch, labels=LABELS) == 0.125
    for other_times in ([0.0, 0.4], [0.0]):
        times_s = np.array(other_times)
        assert largest_difference(units, times_s=times_s, probabilities=batch, labels=LABELS) is None


@pytest.mark.slow
def test_another_version_or_no_such_head_is_refused(archive: Path, heads: Path, live: Live) -> None:
    with pytest.raises(UsageError, match="it answers by frame@1, and frame@2 is measured"):
        compared(archive, f"{heads}/frame@2", live.url)
    use(heads, "window", 7)
    put(heads, "unknown", labels=LABELS)
    with pytest.raises(UsageError, match="serves no head unknown"):
        compared(archive, f"{heads}/unknown", live.url)
    with pytest.raises(UsageError, match="no server answers there"):
        compared(archive, f"{heads}/frame", "http://127.0.0.1:9")


@pytest.mark.slow
def test_key_is_taken_from_the_environment(archive: Path, heads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(heads=HeadSettings(folder=str(heads)), access=Access(), keys=(KEY,)) as guarded:
        with pytest.raises(UsageError, match="VIDLAKE_API_KEY"):
            compared(archive, f"{heads}/frame", guarded.url)
        monkeypatch.setenv("VIDLAKE_API_KEY", KEY)
        assert compared(archive, f"{heads}/frame", guarded.url).num_videos >= 4
