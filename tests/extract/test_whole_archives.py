"""Archives as people have them, whole through the job: long files beside short ones, damaged ones, ones in buckets."""

import io
import json
import os
import random
from itertools import accumulate
from pathlib import Path

import av
import pytest
from conftest import ClipFactory
from lakes import MODEL, assert_same, features, statuses, table, vidlake
from videos import X264, video_bytes

from pipeline.lake.publishing.backends import backend_at

pytestmark = pytest.mark.slow

NUM_SHORT = 100
LONG_S = 1800
# Of what a task takes to begin, and of the commit behind the last segment.
IDLE_AT_THE_END_S = 8.0
MORE_MEMORY_BYTES = 80e6


def report(out: Path) -> dict[str, dict[str, dict[str, float | list[list[float]]]]]:
    """The workers of decoding and of the model, from the run's report."""
    [path] = (out / "_vidlake" / "runs").iterdir()
    stages = json.loads(path.read_text())["stages"]
    return {name: stages[name]["workers"] for name in ("decode", "embed")}


@pytest.mark.soak
def test_long_video_keeps_all_workers_busy_beside_short_ones_in_flat_memory(tmp_path: Path, shared_ray: str) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    for folder in (few, many):
        folder.mkdir()
    short = video_bytes(num_frames=50)
    for index in range(NUM_SHORT):
        (many / f"{index:03}.mp4").write_bytes(short)
    (few / "short.mp4").write_bytes(short)
    minute = video_bytes(options={**X264, "g": "250"}, num_frames=25 * 60, size=(640, 360))
    repeat(minute, times=2, into=few / "long.mp4")  # so that a worker has met all that it ever holds
    repeat(minute, times=LONG_S // 60, into=many / "long.mp4")
    for name, folder in (("one", few), ("all", many)):
        vidlake("extract", folder, "--out", tmp_path / name, *MODEL, "--address", shared_ray)

    rows = features(tmp_path / "all")
    assert len(rows) == NUM_SHORT * 2 + LONG_S
    # A wave may get other processes than the one before, but no more of them work at once than there are CPUs.
    stretches = [each for worker in report(tmp_path / "all")["decode"].values() for each in worker["stretches"]]  # type: ignore[union-attr]
    assert max(end for _, end in stretches) - last_time_of_two(stretches) < IDLE_AT_THE_END_S
    before, after = (
        max(float(worker["private_bytes"]) for worker in report(tmp_path / name)["decode"].values())  # type: ignore[arg-type]
        for name in ("one", "all")
    )
    assert after - before < MORE_MEMORY_BYTES


def last_time_of_two(stretches: list[list[float]]) -> float:
    """Until when two of these were going on at once."""
    changes = sorted([(begin, 1) for begin, _ in stretches] + [(end, -1) for _, end in stretches])
    counts = accumulate(change for _, change in changes)
    return max(at for (at, change), count in zip(changes, counts, strict=True) if change == -1 and count == 1)


def repeat(video: bytes, *, times: int, into: Path) -> None:
    """Write the same pictures again and again, one after the other."""
    with av.open(str(into), "w") as out:
        template = av.open(io.BytesIO(video), "r")
        stream = out.add_stream_from_template(template.streams.video[0])
        for turn in range(times):
            with av.open(io.BytesIO(video), "r") as source:
                inside = source.streams.video[0]
                assert inside.duration is not None
                for packet in source.demux(inside):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts += turn * inside.duration
                        packet.dts += turn * inside.duration
                        packet.stream = stream
                        out.mux(packet)
        template.close()


def test_a_hundred_damaged_videos_cost_themselves_alone(tmp_path: Path, shared_ray: str, clips: ClipFactory) -> None:
    rng, folder = random.Random(5), tmp_path / "in"
    folder.mkdir()
    sources = [clips(num_frames=50), clips(num_frames=50, container="mkv"), clips(num_frames=50, container="ts")]
    for index in range(100):
        source = rng.choice(sources)
        (folder / f"{index:03}{source.suffix}").write_bytes(damaged(source.read_bytes(), rng))
    for index, source in enumerate(sources):
        os.link(source, folder / f"sound-{index}{source.suffix}")

    vidlake("extract", folder, "--out", tmp_path / "lake", *MODEL, "--address", shared_ray)

    status = statuses(tmp_path / "lake")
    assert len(status) == 103
    assert {status[name] for name in status if name.startswith("sound")} == {"ok"}
    assert set(status.values()) == {"ok", "partial", "failed"}
    reasons = table(tmp_path / "lake", "quarantine")["reason"].to_pylist()
    assert set(reasons) <= {"corrupt", "truncated", "not_video", "no_video_stream", "unsupported_codec", "too_large"}
    sound = {key for key in features(tmp_path / "lake") if key[0].startswith("sound")}
    assert len(sound) == 3 * 2


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut short, with a stretch of noise, or with bytes lost."""
    place = rng.randrange(len(data))
    length = rng.randrange(1, len(data) // 5)
    match rng.randrange(3):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + rng.randbytes(length) + data[place + length :]
        case _:
            return data[:place] + data[place + length :]


@pytest.mark.parametrize("store", ["s3", pytest.param("azure", marks=pytest.mark.soak)], indirect=True)
def test_archive_in_a_bucket_becomes_the_lake_that_it_becomes_from_a_folder(
    bucket: str, tmp_path: Path, clips: ClipFactory, shared_ray: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    objects = backend_at(f"{bucket}/in").store
    for index in range(4):
        data = clips(num_frames=75, seed=index).read_bytes() if index else b"no video"
        (folder / f"{index}.mp4").write_bytes(data)
        objects.publish(f"cam/{index}.mp4", data)
    words = [*MODEL, "--sample", "fps:5"]
    vidlake("extract", folder, "--out", tmp_path / "near", *words, "--address", shared_ray)
    vidlake("extract", f"{bucket}/in/cam", "--out", tmp_path / "far", *words)
    assert statuses(tmp_path / "far") == statuses(tmp_path / "near")
    assert_same(features(tmp_path / "far"), features(tmp_path / "near"))
    assert len(features(tmp_path / "far")) == 3 * 15
