"""Videos that are new to a run become part of the plans of its datasets: probed once, and published to each.

What is published is offered to be decoded at once. A dataset of another model may have planned a video before. Its cut
is then taken over, and nothing is probed: so what a killed run had planned for one of its models, and what a model is
added to, is decoded once for all that lack it.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.extract import dataflow
from pipeline.extract.context import Place, RunContext
from pipeline.lake.planned import VIDEOS_PER_FILE, Planned, publish_plan
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.resources import Hardware
from pipeline.records.segments import Sizing
from pipeline.records.windows import Windows

_PLAN_VIDEOS_PER_TASK = 32
# What is probed waits so long for more, and is published with it, in one file; less where the workers wait for it, and
# not at all in the beginning.
_PUBLISHED_EVERY_S = 5.0
_AWAITED_EVERY_S = 1.0

Published = Callable[[pa.Table, Sequence[Place]], None]
"""Is given rows of a plan once they are published in some places."""


class Planner:
    """Adds videos to the plans of a run's datasets."""

    def __init__(
        self,
        context: RunContext,
        planned: Sequence[Planned],
        *,
        then: Published = lambda _, __: None,
        is_awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        """Know what has been ``planned`` in each of ``context.places`` before.

        Args:
            context: the run.
            planned: the plan of each place.
            then: what is done with rows that all places lacked, as soon as they are published.
            is_awaited: whether anybody waits for them.
        """
        self._context = context
        self._planned = planned
        self._windows = [context.at([place]).windows for place in context.places]
        self._then = then
        self._is_awaited = is_awaited
        self._published = -math.inf

    def add(self, videos: pa.Table, schema: pa.Schema) -> Ids:
        """Plan each of these videos, rows of ``listed_schema``, where it is not planned yet, as rows of ``schema``.

        Returns:
            Those that some place had planned before, and that nobody has been told of.
        """
        if self._context.shots is not None:
            self._context.shots.require(videos.filter(pc.is_null(videos["reason"])))
        elsewhere = []
        for lacking, some in by_lacking(videos, self._planned):
            is_new = len(lacking) == len(self._planned)
            if not is_new:
                elsewhere.append(id_bytes(some["video_id"]))
            for windows, together in grouped(lacking, self._windows):
                places = [self._context.places[at] for at in together]
                having = [
                    each for at, each in enumerate(self._planned) if at not in lacking and self._windows[at] == windows
                ]
                cuts, left = cuts_of(some, having, sizing=self._context.at(places).sizing)
                for rows in cuts:
                    for place in places:
                        publish_plan(place.dataset, rows, token=place.token)
                self.probe(left, schema, places=places, is_told=is_new)
        return Ids(elsewhere)

    def probe(self, videos: pa.Table, schema: pa.Schema, *, places: Sequence[Place], is_told: bool = False) -> None:
        """Plan videos for some of the datasets; those that are known to be absent are not probed."""
        absent = videos.filter(pc.is_valid(videos["reason"]))
        if len(absent):
            self._publish(_fitted(absent, schema), places, is_told=is_told)
        present = videos.filter(pc.is_null(videos["reason"])).drop_columns(["reason", "detail"])
        if not len(present):
            return
        blocks = plan_blocks(present, self._context.hardware)
        planning = replace(self._context.planning, windows=self._context.at(places).windows)
        parts: list[pa.Table] = []
        for part in dataflow.probe(blocks, planning=planning, schema=schema):
            parts.append(part)
            every_s = _AWAITED_EVERY_S if self._is_awaited() else _PUBLISHED_EVERY_S
            if time.monotonic() - self._published > every_s or sum(map(len, parts)) >= VIDEOS_PER_FILE:
                self._publish(pa.concat_tables(parts), places, is_told=is_told)
                parts = []
        if parts:
            self._publish(pa.concat_tables(parts), places, is_told=is_told)

    def _publish(self, rows: pa.Table, places: Sequence[Place], *, is_told: bool) -> None:
        for place in places:
            publish_plan(place.dataset, rows, token=place.token)
        self._published = time.monotonic()
        if is_told:
            self._then(rows, places)


def by_lacking(videos: pa.Table, planned: Sequence[Planned]) -> Iterator[tuple[tuple[int, ...], pa.Table]]:
    """The videos that one of some plans lacks at least, by the numbers of those that lack them."""
    is_lacking = np.stack([~each.ids.mask(videos["video_id"]) for each in planned], axis=1)
    for pattern in np.unique(is_lacking, axis=0):
        if pattern.any():
            rows = pa.array((is_lacking == pattern).all(axis=1))
            yield tuple(np.flatnonzero(pattern).tolist()), videos.filter(rows)


def grouped(
    numbers: Iterable[int], windows: Sequence[Windows | None]
) -> Iterator[tuple[Windows | None, tuple[int, ...]]]:
    """Numbers of datasets by how their samples form windows: those where that differs are cut and decoded apart."""
    chosen = list(numbers)
    for each in dict.fromkeys(windows[number] for number in chosen):
        yield each, tuple(number for number in chosen if windows[number] == each)


def cuts_of(videos: pa.Table, planned: Sequence[Planned], *, sizing: Sizing) -> tuple[list[pa.Table], pa.Table]:
    """How others have cut videos, where no segment is larger than ``sizing`` allows for what is kept of its samples.

    Returns:
        Rows of the plans, and the videos that are left.
    """
    found = []
    for plan in planned:
        rows = plan.of_videos(id_bytes(videos["video_id"]))
        rows = rows.filter(pa.array(_largest_segments(rows) <= sizing.max_samples))
        taken = Ids([id_bytes(rows["video_id"])])
        videos = videos.filter(pa.array(~taken.mask(videos["video_id"])))
        found.append(rows)
    return found, videos


def plan_blocks(videos: pa.Table, hardware: Hardware) -> list[pa.Table]:
    """Videos to probe, a block for each task: few for the driver's sake, but enough for all CPUs."""
    size = max(1, min(_PLAN_VIDEOS_PER_TASK, len(videos) // (4 * hardware.num_cpus)))
    return [videos.slice(at, size) for at in range(0, len(videos), size)]


def _largest_segments(planned: pa.Table) -> NDArray[np.float64]:
    """The most samples that a segment of each video is planned to have; infinite where a video could not be cut."""
    lists = planned["segments"].combine_chunks()
    largest = np.where(pc.is_valid(lists).to_numpy(zero_copy_only=False), 0.0, np.inf)
    num_samples = pc.struct_field(lists.flatten(), "num_samples").to_numpy(zero_copy_only=False)
    np.maximum.at(largest, pc.list_parent_indices(lists).to_numpy(), num_samples)
    return largest


def _fitted(videos: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same rows in the columns of ``schema``, without those that it lacks, and null where they have none."""
    columns = [
        videos[each.name] if each.name in videos.column_names else pa.nulls(len(videos), each.type) for each in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
