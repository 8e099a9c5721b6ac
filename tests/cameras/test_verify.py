"""Replay proof: a live row is the batch row of the recording, and where it is not, that is found."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import vidlake as command
from numpy.typing import NDArray
from recorded_lakes import Watched, info, recorded, watch
from videos import X265, remuxed, video_bytes

from pipeline.cameras.recordings.files import RecordingFiles
from pipeline.cameras.recordings.verify import difference_of, is_same, verify
from pipeline.errors import UsageError

STREAM = remuxed(video_bytes(num_frames=96), kind="mpegts")


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "rec")


@pytest.mark.parametrize(
    ("data", "num_files"),
    [
        pytest.param(STREAM, 4, id="h264-with-b-frames-in-ts"),
        pytest.param(remuxed(video_bytes(num_frames=96), kind="flv"), 4, id="h264-in-flv", marks=pytest.mark.slow),
        pytest.param(
            remuxed(video_bytes("libx265", X265, num_frames=96), kind="mpegts"),
            4,
            id="hevc-of-open-gops",
            marks=pytest.mark.slow,
        ),
        pytest.param(video_bytes("mjpeg", {}, kind="matroska", pix_fmt="yuvj420p", num_frames=50), 3, id="motion-jpeg"),
        pytest.param(video_bytes("mpeg4", {}, kind="avi", num_frames=50), 3, id="mpeg4", marks=pytest.mark.slow),
    ],
)
def test_each_live_row_is_the_batch_row_of_the_recording(data: bytes, num_files: int, lake: str, place: str) -> None:
    watched = Watched.of(data)
    watch(lake, watched, record_to=place)

    verdict = verify(lake, info(), stream=None)

    assert len(RecordingFiles(place).closed("gate")) == num_files
    assert verdict.holds
    assert verdict.num_rows == verdict.num_equal == len(watched.samples)
    assert verdict.worst <= 1e-5


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched.of(STREAM)


def test_a_row_that_is_not_the_batchs_is_found(watched: Watched, lake: str, place: str) -> None:
    """Two rows are made wrong: the proof names them, and the command leaves with 1."""
    sample = watched.samples[7]
    wrong = replace(watched, samples={**watched.samples, 7: replace(sample, feature=sample.feature + 0.01)})
    watch(lake, wrong, record_to=place)

    verdict = verify(lake, info(), stream="gate")

    assert not verdict.holds
    assert (verdict.num_equal, verdict.num_different) == (len(watched.samples) - 1, 1)
    assert verdict.worst == pytest.approx(0.01, rel=0.1)
    assert f"pts {sample.mark.pts}: differs by" in verdict.faults[0]
    done = command("verify", lake, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["different"] == 1


def test_a_row_whose_frame_the_recording_lacks_is_found(watched: Watched, lake: str, place: str) -> None:
    """Its pts is one tick beside a frame's."""
    sample = watched.samples[7]
    mark = replace(sample.mark, pts=sample.mark.pts + 1)
    wrong = replace(watched, samples={**watched.samples, 7: replace(sample, mark=mark)})
    watch(lake, wrong, record_to=place)

    verdict = verify(lake, info(), stream=None)

    assert not verdict.holds
    assert (verdict.num_equal, verdict.num_absent) == (len(watched.samples) - 1, 1)
    assert "its recording has no such frame" in verdict.faults[0]


def test_a_recording_that_cannot_be_read_proves_nothing(watched: Watched, lake: str, place: str) -> None:
    watch(lake, watched, record_to=place)
    second = RecordingFiles(place).closed("gate")[1]
    Path(second.uri).write_bytes(b"no video")

    verdict = verify(lake, info(), stream=None)

    assert not verdict.holds
    assert verdict.num_absent >= 4
    assert verdict.num_equal + verdict.num_absent == len(watched.samples)


def test_expired_rows_are_counted_and_fail_nothing(lake: str, place: str) -> None:
    """The older of two sessions has expired by ``--keep``."""
    now = datetime.now(UTC).replace(microsecond=0)
    old = Watched.of(STREAM, started_at=now - timedelta(hours=30))
    new = Watched.of(STREAM, started_at=now - timedelta(hours=1))
    watch(lake, old, record_to=place)
    watch(lake, new, record_to=None)
    recorded(lake, new, to=place, keep=timedelta(hours=24))

    verdict = verify(lake, info(), stream=None)

    assert verdict.holds
    assert (verdict.num_equal, verdict.num_expired, verdict.num_unrecorded) == (20, 20, 0)
    assert verdict.num_rows == 40


def test_of_a_session_that_expires_now_the_older_rows_are_expired(lake: str, place: str) -> None:
    """Its recordings are all gone; those of its last two seconds were to be there still."""
    watched = Watched.of(STREAM, started_at=datetime.now(UTC) - timedelta(hours=24, seconds=1.9))
    watch(lake, watched, record_to=None)
    recorded(lake, watched, to=place, keep=timedelta(hours=24))
    for recording in RecordingFiles(place).closed("gate"):
        Path(recording.uri).unlink()

    verdict = verify(lake, info(), stream=None)

    assert verdict.num_rows == verdict.num_expired + verdict.num_unrecorded == 20
    assert verdict.num_expired >= 9


def test_rows_that_were_never_recorded_are_counted_and_alone_prove_nothing(
    watched: Watched, lake: str, place: str
) -> None:
    watch(lake, watched, record_to=None)

    verdict = verify(lake, info(), stream=None)

    assert not verdict.holds
    assert (verdict.num_rows, verdict.num_unrecorded) == (20, 20)
    assert command("verify", lake).returncode == 1
    recorded(lake, watched, to=place)
    assert command("verify", lake).returncode == 0


def test_another_stream_is_named(watched: Watched, lake: str) -> None:
    watch(lake, watched, record_to=None)

    with pytest.raises(UsageError, match="has no stream door; it has gate"):
        verify(lake, info(), stream="door")


def test_what_a_precision_allows() -> None:
    """1e-5 of max(1, max|f|) in fp32; the promised cosines in reduced precision."""
    feature = np.linspace(-4, 4, 64, dtype=np.float32)
    config = info().config

    def same(other: NDArray[Any], **how: Any) -> bool:
        return is_same(other.astype(np.float32), feature, info=replace(info(), config=replace(config, **how)))

    assert difference_of(feature + np.float32(4e-4), feature) == pytest.approx(1e-4, rel=0.01)
    assert same(feature + 3e-5)
    assert not same(feature + 6e-5)
    assert same(feature.astype(np.float16), dtype="float16")
    assert not same(feature.astype(np.float16))
    assert same(feature * 1.01 + 0.01, precision="fp16")
    assert not same(feature + 0.5, precision="fp16")
    assert same(feature + 0.4, precision="bf16")
    assert not same(np.full_like(feature, np.nan))
    assert not same(-feature, precision="bf16")
