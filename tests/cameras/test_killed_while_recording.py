"""Kill -9 of a stream that records: every row that is in the lake has its picture in a recording, and equals it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_lakes import info
from videos import OPEN_GOPS, X264, remuxed, video_bytes

from pipeline.cameras.recordings.files import RecordingFiles
from pipeline.cameras.recordings.fill import fill
from pipeline.cameras.recordings.verify import verify
from pipeline.lake.live import readers
from pipeline.records.streams import GapReason

WATCHING = """
import asyncio, sys
sys.path[:0] = sys.argv[4:]
from recorded_lakes import RATE_HZ, embedder, info
from pipeline.cameras.pulling.source import AllowedSources, Source
from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.stream_host import StreamHost
from pipeline.records.streams import StreamSpec

async def embed(pixels):
    return (await asyncio.to_thread(embedder().embed, [pixels[None]]))[0]

clip, lake, place = sys.argv[1:4]
embedder().warm_up()
source = f"file:{clip}"
spec = StreamSpec(name="gate", source=clip, rate_hz=RATE_HZ, record=place)
settings = StreamSettings(lake=lake, info=info(), embed=embed, commit_s=0.1, publish_s=0.5)

async def watch():
    host = StreamHost(spec, Source.parse(source, allowed=AllowedSources().with_own(source)), settings)
    await host.start()
    while host.status().counters.samples < 20:
        await asyncio.sleep(0.01)
    print("watching", flush=True)
    await asyncio.sleep(600)

asyncio.run(watch())
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [X264, OPEN_GOPS], ids=["b-frames", "open-gops"])
def test_no_row_lacks_its_recording(options: dict[str, str], tmp_path: Path) -> None:
    clip, lake, place = tmp_path / "clip.ts", str(tmp_path / "lake"), str(tmp_path / "rec")
    clip.write_bytes(remuxed(video_bytes("libx264", options, num_frames=500), kind="mpegts"))
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    words = [sys.executable, "-c", WATCHING, str(clip), lake, place, *folders]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"watching\n"
        os.killpg(watching.pid, signal.SIGKILL)

    verdict = verify(lake, info(), stream=None)

    assert verdict.holds, verdict
    assert verdict.num_rows == verdict.num_equal >= 10
    assert len(RecordingFiles(place).closed("gate")) == 1
    num_dropped = sum(each.gap.num_slots for each in readers.gaps(lake) if each.gap.reason is GapReason.DROPPED)
    assert fill(lake, info(), stream=None, is_gated=False).num_filled == num_dropped
