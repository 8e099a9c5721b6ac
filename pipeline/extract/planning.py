"""Videos that are new to a run become part of the plans of its datasets: probed once, and published to each.

A dataset of another model may have planned a video before. Its cut is then taken over, and nothing is probed: so what
a killed run had planned for one of its models, and what a model is added to, is decoded once for all that lack it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.extract import dataflow
from pipeline.extract.context import Place, RunContext
from pipeline.extract.progress import Display
from pipeline.lake.ids import Ids, id_bytes
from pipeline.lake.planned import Planned, publish_plan
from pipeline.records.resources import Hardware
from pipeline.records.segments import Sizing
from pipeline.records.windows import Windows

_PLAN_VIDEOS_PER_TASK = 32


class Planner:
    """Adds videos to the plans of a run's datasets."""

    def __init__(self, context: RunContext, planned: Sequence[Planned], *, display: Display) -> None:
        """Know what has been ``planned`` in each of ``context.places`` before."""
        self._context = context
        self._planned = planned
        self._windows = [context.at([place]).windows for place in context.places]
        self._display = display

    def add(self, videos: pa.Table, schema: pa.Schema) -> None:
        """Plan each of these videos, rows of ``listed_schema``, where it is not planned yet, as rows of ``schema``."""
        if self._context.shots is not None:
            self._context.shots.require(videos.filter(pc.is_null(videos["reason"])))
        for lacking, some in by_lacking(videos, self._planned):
            for windows, together in grouped(lacking, self._windows):
                places = [self._context.places[at] for at in together]
                having = [
                    each for at, each in enumerate(self._planned) if at not in lacking and self._windows[at] == windows
                ]
                cuts, left = cuts_of(some, having, sizing=self._context.at(places).sizing)
                for rows in cuts:
                    for place in places:
                        publish_plan(place.dataset, rows, token=place.token)
                self.probe(left, schema, places=places)

    def probe(self, videos: pa.Table, schema: pa.Schema, *, places: Sequence[Place]) -> None:
        """Plan videos for some of the datasets; those that are known to be absent are not probed."""
        absent = videos.filter(pc.is_valid(videos["reason"]))
        if len(absent):
            for place in places:
                publish_plan(place.dataset, _fitted(absent, schema), token=place.token)
        present = videos.filter(pc.is_null(videos["reason"])).drop_columns(["reason", "detail"])
        if not len(present):
            return
        self._display.say(f"planning {len(present)} videos")
        blocks = plan_blocks(present, self._context.hardware)
        planning = replace(self._context.planning, windows=self._context.at(places).windows)
        dataflow.run_plan(blocks, planning=planning, places=places, schema=schema)


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
    size = max(1, min(_PLAN_VIDEOS_PER_TASK, len(videos) // (2 * hardware.num_cpus)))
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
