"""Planning is no barrier: the first rows are there before the last video was looked at; a kill in between is safe."""

import os
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from archive_server import ArchiveHandler
from conftest import ClipFactory
from lakes import MODEL, assert_same, features, kill, started, vidlake
from patience import PATIENCE_S
from typing_extensions import override

from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import PlanFiles, Planned

pytestmark = pytest.mark.slow

NUM_VIDEOS = 6
HOW = [*MODEL, "--sample", "fps:5", "--segment-seconds", "1"]


class SlowServer(ArchiveHandler):
    """Of the last video, once it is listed, gives nothing until it ``may_go_on``."""

    may_go_on: threading.Event

    @override
    def asked(self, path: Path) -> None:
        if path.name == f"{NUM_VIDEOS - 1}.mp4" and self.wanted()[1] > 0:
            self.may_go_on.wait(PATIENCE_S)
        self.answer(path)


@pytest.fixture
def server(tmp_path: Path, clips: ClipFactory) -> Iterator[tuple[threading.Event, list[str]]]:
    """What lets the last video go on, and the addresses of six of 2 s."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for index in range(NUM_VIDEOS):
        os.link(clips(num_frames=50, gop=25, seed=index), archive / f"{index}.mp4")
    may_go_on = threading.Event()
    handler = type("Slow", (SlowServer,), {"folder": archive, "may_go_on": may_go_on})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        serving.daemon_threads = True
        threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield may_go_on, [f"http://127.0.0.1:{serving.server_port}/{index}.mp4" for index in range(NUM_VIDEOS)]
        may_go_on.set()
        serving.shutdown()


def test_first_rows_are_committed_before_the_last_video_is_probed_and_a_kill_then_costs_nothing(
    server: tuple[threading.Event, list[str]], tmp_path: Path, shared_ray: str
) -> None:
    may_go_on, addresses = server
    out = tmp_path / "lake"
    run = started("extract", *addresses, "--out", out, *HOW)
    try:
        while not list(out.glob("features/*.parquet")):
            assert run.poll() is None, "it ended before"
            time.sleep(0.05)
    finally:
        kill(run, whole=True)
    dataset = Dataset.at(str(out))
    planned = Planned(dataset)
    assert 0 < len(planned.ids) < NUM_VIDEOS
    assert {video for video, _ in features(out)} <= {
        Path(uri).name for _, part in planned.parts(["uri"]) for uri in part["uri"].to_pylist()
    }, "a video is planned before it is decoded"

    may_go_on.set()
    for place in (out, tmp_path / "calm"):
        vidlake("extract", *addresses, "--out", place, *HOW, "--address", shared_ray)
    assert len(features(out)) == NUM_VIDEOS * 10
    assert_same(features(out), features(tmp_path / "calm"))
    assert len(PlanFiles(dataset.files).names()) == 1, "the files of the plan are folded at the end"
