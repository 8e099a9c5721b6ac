"""One run over one dataset: plan what is new, process what is not settled, bring the derived tables up to date."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline import extract
from pipeline.config import RunOptions
from pipeline.dataset import Dataset, DatasetInfo, plan_schema
from pipeline.derived import derive, is_repeatable, latest, latest_plan, pending
from pipeline.inputs import Inputs
from pipeline.outcome import Clockwork, Outcome
from pipeline.progress import Display
from pipeline.schemas import PLAN, SOURCES, TASKS, table_of
from pipeline.sizes import Hardware, Work, choose_sizes
from pipeline.sources import source_row
from pipeline.stages import MAX_SEGMENT_BYTES
from pipeline.tasks import group_tasks

_PLAN_VIDEOS_PER_TASK = 32
_MAX_SAMPLES = 512


class Run:
    """One run over one dataset, under its lease."""

    def __init__(
        self,
        dataset: Dataset,
        info: DatasetInfo,
        options: RunOptions,
        *,
        hardware: Hardware,
        token: str,
        display: Display,
        clockwork: Clockwork,
    ) -> None:
        self._dataset = dataset
        self._info = info
        self._options = options
        self._hardware = hardware
        self._token = token
        self._display = display
        self._clockwork = clockwork
        self._tally = extract.SharedTally()

    def plan(self, inputs: Inputs) -> dict[str, str]:
        """Plan what is new in the input; returns the locators, by video id, of what this run is to process."""
        planned = {video for part in self._dataset.plan_parts(["video_id"]) for video in part["video_id"].to_pylist()}
        listed: list[str] = []
        chosen: dict[str, str] = {}
        new: list[dict[str, Any]] = []
        for source in inputs:
            row = source_row(source, attempt=1)
            listed.append(row["video_id"])
            is_within = self._options.limit is None or len(chosen) < self._options.limit
            if is_within and self._options.shard.holds(row["video_id"]):
                chosen[row["video_id"]] = row["locator"]
                if row["video_id"] not in planned:
                    new.append(row)
        self._dataset.publish_listing(pa.array(listed, pa.string()))
        self._plan_rows(new, plan_schema(inputs.fields))
        return chosen

    def extract(self, chosen: dict[str, str]) -> None:
        """Decode, embed and commit the segments of the ``chosen`` videos that are not settled yet."""
        plan, settled = latest_plan(self._dataset), self._dataset.settled()
        self._settle_failed(plan, settled)
        self._process(task_rows(plan, pending(self._dataset, settled), chosen))

    def retry(self) -> None:
        """Probe failed videos and decode failed segments once more."""
        plan = latest_plan(self._dataset)
        failed = [row for row in plan.to_pylist() if row["reason"] is not None]
        again = [row | {"attempt": row["attempt"] + 1, "locator": row["uri"], "reason": None} for row in failed]
        self._plan_rows(again, plan.schema)
        plan, settled = latest_plan(self._dataset), self._dataset.settled()
        self._settle_failed(plan, settled)
        left = pending(self._dataset, settled)
        attempts = dict.fromkeys(zip(left["video_id"].to_pylist(), left["segment"].to_pylist(), strict=True), 1)
        attempts |= {
            (entry["video_id"], entry["segment"]): entry["attempt"] + 1
            for entry in latest(settled).to_pylist()
            if entry["segment"] is not None and is_repeatable(entry)
        }
        videos, segments = zip(*attempts, strict=True) if attempts else ((), ())
        keys = pa.table({"video_id": pa.array(videos, pa.string()), "segment": pa.array(segments, pa.int32())})
        rows = task_rows(plan, keys, dict(_uris(plan)))
        self._process([row | {"attempt": attempts[row["video_id"], row["segment"]["index"]]} for row in rows])

    def finish(self) -> Outcome:
        """Bring the derived tables up to date and write the run's report."""
        self._clockwork.mark("extract")
        found = derive(self._dataset)
        stages = self._tally.snapshot()
        self._clockwork.mark("end")
        marks = self._clockwork.marks
        began = datetime.fromtimestamp(self._clockwork.began, UTC)
        report = {"began": began.isoformat(), "marks_s": marks, "stages": stages}
        name = f"_vidlake/runs/{began:%Y%m%dT%H%M%S}-{self._token[:8]}.json"
        self._dataset.store.publish(name, json.dumps(report).encode())
        return Outcome(
            out=self._dataset.store.uri,
            totals=found,
            seconds=marks["end"],
            num_samples=int(stages.get("embed", {}).get("num_samples", 0)),
            video_s=float(stages.get("decode", {}).get("video_s", 0.0)),
            num_bytes=int(stages.get("commit", {}).get("num_bytes", 0)),
            marks_s=marks,
        )

    def _plan_rows(self, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        absent = [row for row in rows if row["reason"] is not None]
        if absent:
            self._dataset.publish_plan(table_of(absent, schema), token=self._token)
        present = [row for row in rows if row["reason"] is None]
        if present:
            self._display.say(f"planning {len(present)} videos")
            sources = pa.schema([*SOURCES, *(field for field in schema if field.name not in PLAN.names)])
            size = max(1, min(_PLAN_VIDEOS_PER_TASK, len(present) // (2 * self._hardware.num_cpus)))
            blocks = [table_of(present[at : at + size], sources) for at in range(0, len(present), size)]
            sample_bytes = self._info.config.model.preprocessing.sample_bytes
            extract.run_plan(
                blocks,
                dataset=self._dataset,
                rule=self._info.config.rule,
                sizing={
                    "max_samples": max(1, min(_MAX_SAMPLES, MAX_SEGMENT_BYTES // sample_bytes)),
                    "duration_s": self._options.segment_seconds,
                },
                schema=schema,
                limits=self._options.limits,
                sizes=choose_sizes(self._hardware, Work(num_segments=0, num_samples=0, cost_s=0), self._options),
                token=self._token,
                tally=self._tally,
            )
        self._clockwork.mark("plan")

    def _settle_failed(self, plan: pa.Table, settled: pa.Table) -> None:
        """Settle the videos that failed as a whole, in a file of no rows."""
        columns = (settled[name].to_pylist() for name in ("video_id", "segment", "attempt"))
        known = set(zip(*columns, strict=True))
        nothing = {"segment": None, "start_s": None, "end_s": None, "num_samples": 0, "num_corrupt": 0}
        entries = [
            {"video_id": row["video_id"], "attempt": row["attempt"], "outcome": row["reason"], "detail": row["detail"]}
            | nothing
            for row in plan.select(["video_id", "attempt", "reason", "detail"]).to_pylist()
            if row["reason"] is not None and (row["video_id"], None, row["attempt"]) not in known
        ]
        if entries:
            self._dataset.settle(entries, self._info, token=self._token)

    def _process(self, rows: list[dict[str, Any]]) -> None:
        segments = [row["segment"] for row in rows]
        if not segments:
            return
        work = Work(
            num_segments=len(segments),
            num_samples=sum(segment["num_samples"] for segment in segments),
            cost_s=sum(segment["cost_s"] for segment in segments),
        )
        sizes = choose_sizes(self._hardware, work, self._options)
        total_s = sum(segment["end_s"] - segment["start_s"] for segment in segments)
        self._display.say(
            f"{work.num_segments} segments, about {work.num_samples} samples, {total_s / 3600:.2f} h of video: "
            f"{sizes.decode_workers} decode workers, {sizes.num_actors} model actors"
        )
        with self._display.follow(self._tally.snapshot, total_s=total_s, num_actors=sizes.num_actors):
            extract.run_extract(
                [table_of(task, TASKS) for task in group_tasks(rows, task_s=sizes.task_s)],
                dataset=self._dataset,
                info=self._info,
                limits=self._options.limits,
                sizes=sizes,
                is_compiled=self._options.compile,
                token=self._token,
                tally=self._tally,
            )


def task_rows(plan: pa.Table, left: pa.Table, locators: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of ``TASKS`` for the segments in ``left``, of the videos that have a locator, in the plan's order."""
    wanted: dict[str, set[int]] = {}
    for video, segment in zip(left["video_id"].to_pylist(), left["segment"].to_pylist(), strict=True):
        if video in locators:
            wanted.setdefault(video, set()).add(segment)
    return [
        row | {"locator": locators[row["video_id"]], "segment": segment, "attempt": 1}
        for row in plan.to_pylist()
        for segment in row["segments"] or []
        if segment["index"] in wanted.get(row["video_id"], ())
    ]


def _uris(plan: pa.Table) -> Iterable[tuple[str, str]]:
    return zip(plan["video_id"].to_pylist(), plan["uri"].to_pylist(), strict=True)
