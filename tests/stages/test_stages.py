"""Segments to samples, with real decoders on real clips: each task row gives one row, whatever happens to it."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import ClipFactory
from rows import TINY

from pipeline.errors import StorageError
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import pixels_of, table_of
from pipeline.records.schemas import PLAN, SOURCES, TASKS, samples_schema
from pipeline.records.segments import Segment, Sizing, TimeRange, VideoFacts
from pipeline.stages import plan as planning
from pipeline.stages import sample_buffers
from pipeline.stages.decode import decode_tasks, decode_video
from pipeline.stages.plan import plan_sources
from pipeline.storage.addresses import canonical_uri
from pipeline.storage.local import LocalReader
from pipeline.storage.reader import video_id
from pipeline.storage.retry import DEFAULT_RETRY
from pipeline.storage.schemes import stat

RULE = parse_rule("all")
LIMITS = DecodeLimits()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS) as shared:
        yield shared


@pytest.fixture
def clip(clips: ClipFactory, tmp_path: Path) -> Path:
    """Fifty frames with a keyframe every ten."""
    path = tmp_path / "clip.mp4"
    shutil.copy(clips(gop=10, num_frames=50), path)
    return path


def source_of(path: Path) -> dict[str, Any]:
    identity = stat(str(path))
    uri = canonical_uri(str(path))
    row = {"uri": uri, "locator": str(path), "attempts": 1}
    values = {"size_bytes": identity.size_bytes, "etag": identity.etag, "mtime_ns": identity.mtime_ns}
    return dict.fromkeys(SOURCES.names) | row | values | {"video_id": video_id(uri, identity)}


def plan_of(sandbox: Sandbox, *sources: dict[str, Any]) -> list[dict[str, Any]]:
    table = table_of(sources, SOURCES)
    planned = plan_sources(table, sandbox=sandbox, rule=RULE, sizing=Sizing(max_samples=10, duration_s=0.4))
    return [dict(video.to_row()) for video in planned]


def tasks_of(sandbox: Sandbox, path: Path) -> pa.Table:
    source = source_of(path)
    [row] = plan_of(sandbox, source)
    return table_of([row | {"locator": str(path), "segment": each} for each in row["segments"]], TASKS)


def decoded(tasks: pa.Table, sandbox: Sandbox, *, at_row: Callable[[int], None] = lambda at: None) -> pa.Table:
    parts = []
    for at, part in enumerate(decode_tasks(tasks, sandbox=sandbox, rule=RULE, preprocessings=(TINY,))):
        assert part.num_rows == 1
        assert part.schema == samples_schema(1)
        parts.append(part)
        at_row(at)
    assert [row["index"] for row in tasks["segment"].to_pylist()] == [part["segment"][0].as_py() for part in parts]
    return pa.concat_tables(parts)


def test_every_segment_gives_its_samples(sandbox: Sandbox, clip: Path) -> None:
    tasks = tasks_of(sandbox, clip)
    found = decoded(tasks, sandbox)
    assert len(found) == 5
    assert set(found["reason"].to_pylist()) == {None}
    assert sum(found["num_samples"].to_pylist()) == 50
    assert sorted(pts for row in found["pts"].to_pylist() for pts in row) == sorted(
        set(found["pts"].combine_chunks().flatten().to_pylist())
    )
    assert [len(pixels) for pixels in pixels_of(found, height=4, width=4)] == found["num_samples"].to_pylist()


def test_pictures_do_not_depend_on_the_cut(sandbox: Sandbox, clip: Path) -> None:
    tasks = tasks_of(sandbox, clip)
    together = pixels_of(decoded(tasks, sandbox), height=4, width=4)
    apart = [
        pixels
        for at in reversed(range(len(tasks)))
        for pixels in pixels_of(decoded(tasks.slice(at, 1), sandbox), height=4, width=4)
    ]
    assert all(np.array_equal(one, other) for one, other in zip(together, reversed(apart), strict=True))


def test_a_crash_costs_one_segment(sandbox: Sandbox, clip: Path) -> None:
    tasks = tasks_of(sandbox, clip)
    with Sandbox(LIMITS, entry="dying_decoders:segfaults_in_segment_1") as dying:
        found = decoded(tasks, dying)
    assert found["reason"].to_pylist() == [None, "crashed", None, None, None]
    assert found["num_samples"].to_pylist()[1] == 0
    assert "SIGSEGV" in found["detail"][1].as_py()
    assert found["missing_start_s"][1].as_py() == tasks["segment"][1].as_py()["start_s"]
    assert sum(found["num_samples"].to_pylist()) == 40


class Interrupting(LocalReader):
    """Reads a file, and does something else at some of its reads."""

    def __init__(self, path: Path, act: Callable[[int], None]) -> None:
        super().__init__(str(path), expected=None, retry=DEFAULT_RETRY)
        self._act = act
        self._num_reads = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self._num_reads += 1
        self._act(self._num_reads)
        return super().read_at(offset, length)


def outcomes(sandbox: Sandbox, tasks: pa.Table, reader: LocalReader) -> list[tuple[str, int]]:
    rows = tasks.to_pylist()
    job = Job(uri=rows[0]["uri"], rule=RULE, time_range=TimeRange())
    facts = VideoFacts.from_json(rows[0]["facts"])
    segments = [Segment.from_json(row["segment"]) for row in rows]
    with reader:
        found = list(decode_video(sandbox, reader, job, facts=facts, segments=segments, preprocessings=(TINY,)))
    assert [each.segment for each in found] == segments
    return [("ok" if each.failure is None else each.failure.reason, len(each.marks)) for each in found]


@pytest.mark.parametrize(
    ("num_kills", "expected"),
    [
        pytest.param(1, ["ok"] * 5, id="once"),
        pytest.param(2, ["crashed", *["ok"] * 4], id="twice-over-one-segment"),
    ],
)
def test_a_decoder_killed_from_outside_gets_a_second_chance(
    sandbox: Sandbox, clip: Path, num_kills: int, expected: list[str]
) -> None:
    tasks = tasks_of(sandbox, clip)
    killed: list[int] = []

    def kill(num_reads: int) -> None:
        pid = sandbox.pid
        if len(killed) < num_kills and pid is not None and pid not in killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    found = outcomes(sandbox, tasks, Interrupting(clip, kill))
    assert [outcome for outcome, _ in found] == expected
    assert len(killed) == num_kills


def test_a_decoder_killed_while_planning_gets_a_second_chance(
    sandbox: Sandbox, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    def kill(num_reads: int) -> None:
        if not killed and sandbox.pid is not None:
            killed.append(sandbox.pid)
            os.kill(sandbox.pid, signal.SIGKILL)

    monkeypatch.setattr(planning, "open_reader", lambda locator, expected: Interrupting(clip, kill))
    [row] = plan_of(sandbox, source_of(clip))
    assert row["reason"] is None
    assert len(killed) == 1


def test_storage_error_is_not_a_bad_video(sandbox: Sandbox, clip: Path) -> None:
    tasks = tasks_of(sandbox, clip)

    def fail(num_reads: int) -> None:
        raise StorageError("the store is away")

    with pytest.raises(StorageError, match="the store is away"):
        outcomes(sandbox, tasks, Interrupting(clip, fail))


def test_a_video_replaced_while_it_is_read_gives_no_more_rows(sandbox: Sandbox, clip: Path, tmp_path: Path) -> None:
    tasks = tasks_of(sandbox, clip)

    def replace(at: int) -> None:
        if at == 1:
            other = tmp_path / "other.mp4"
            other.write_bytes(clip.read_bytes() + b"more")
            other.replace(clip)

    found = decoded(tasks, sandbox, at_row=replace)
    assert found["reason"].to_pylist() == [None, None, "changed", "changed", "changed"]
    assert found["num_samples"].to_pylist()[2:] == [0, 0, 0]


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        pytest.param(lambda path: path.unlink(), "unreadable", id="removed"),
        pytest.param(lambda path: path.write_bytes(b"other"), "changed", id="replaced"),
        pytest.param(lambda path: path.write_bytes(b""), "changed", id="emptied"),
    ],
)
def test_a_video_that_cannot_be_opened_loses_every_segment(
    sandbox: Sandbox, clip: Path, harm: Callable[[Path], Any], reason: str
) -> None:
    tasks = tasks_of(sandbox, clip)
    harm(clip)
    found = decoded(tasks, sandbox)
    assert found["reason"].to_pylist() == [reason] * 5
    assert sum(found["num_samples"].to_pylist()) == 0
    assert sum(map(len, pixels_of(found, height=4, width=4))) == 0


def test_tasks_of_several_videos_and_in_any_order_give_one_row_each(
    sandbox: Sandbox, clip: Path, clips: ClipFactory
) -> None:
    one, other = tasks_of(sandbox, clip), tasks_of(sandbox, clips(gop=10, num_frames=20, seed=3))
    mixed = pa.concat_tables([one.slice(3), other, one.slice(0, 2), one.slice(1, 1)])
    found = decoded(mixed, sandbox)
    assert found["video_id"].to_pylist() == mixed["video_id"].to_pylist()
    assert set(found["reason"].to_pylist()) == {None}


def test_far_more_samples_than_planned_end_as_out_of_memory(
    sandbox: Sandbox, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tasks_of(sandbox, clip).slice(0, 1)
    monkeypatch.setattr(sample_buffers, "_MOST_BYTES", 4000)
    with Sandbox(LIMITS, entry="dying_decoders:yields_far_too_many") as endless:
        found = decoded(tasks, endless)
    assert found["reason"].to_pylist() == ["out_of_memory"]
    assert "samples, where 10 were expected" in found["detail"][0].as_py()


def test_more_samples_than_planned_are_kept(sandbox: Sandbox, clip: Path) -> None:
    [row] = tasks_of(sandbox, clip).slice(0, 1).to_pylist()
    row["segment"]["num_samples"] = 0
    found = decoded(table_of([row], TASKS), sandbox)
    assert found["num_samples"].to_pylist() == [10]


def test_sources_become_plans_or_reasons(sandbox: Sandbox, clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    gone = source_of(clip) | {"locator": str(tmp_path / "gone.mp4")}
    rows = plan_of(sandbox, source_of(clip), source_of(text), gone)
    assert [row["reason"] for row in rows] == [None, "not_video", "unreadable"]
    plan = table_of(rows, PLAN)
    assert plan["segments"].is_valid().to_pylist() == [True, False, False]
    assert "locator" not in plan.column_names
