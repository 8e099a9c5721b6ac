"""The first stage: source -> plan. Free of Ray, and of torch, whose import would hold up the start of every run."""

from fractions import Fraction
from typing import Any

import pyarrow as pa

from pipeline.errors import InputError, Killed
from pipeline.inputs.sources import identity_of
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.model_info import Preprocessing
from pipeline.records.segments import MAX_SAMPLES, Sizing, TimeRange, VideoPlan
from pipeline.storage.reader import Reader
from pipeline.storage.schemes import open_reader

MAX_SEGMENT_BYTES = 80_000_000
"""Of model input that one segment may hold: a row between operators is a whole segment."""


def sizing_for(preprocessing: Preprocessing, *, duration_s: float | None = None) -> Sizing:
    """How to cut a video for this model."""
    max_samples = max(1, min(MAX_SAMPLES, MAX_SEGMENT_BYTES // preprocessing.sample_bytes))
    return Sizing(max_samples=max_samples, duration_s=duration_s)


def plan_sources(sources: pa.Table, *, sandbox: Sandbox, rule: SamplingRule, sizing: Sizing) -> list[dict[str, Any]]:
    """Probe each video of a ``SOURCES`` table and cut it into segments; returns the rows of ``PLAN``.

    Raises:
        StorageError: a store failed.
    """
    planned = []
    for row in sources.to_pylist():
        outcome: dict[str, Any] = {"facts": None, "segments": None, "reason": None, "detail": None}
        try:
            with open_reader(row["locator"], expected=identity_of(row)) as reader:
                plan = _plan(sandbox, reader, job_of(row, rule), sizing=sizing)
                reader.check_unchanged()
            outcome["facts"] = plan.facts.to_json()
            outcome["segments"] = [segment.to_json() for segment in plan.segments]
        except InputError as error:
            outcome |= {"reason": error.reason, "detail": error.detail}
        planned.append(row | outcome)
    return planned


def _plan(sandbox: Sandbox, reader: Reader, job: Job, *, sizing: Sizing) -> VideoPlan:
    try:
        return sandbox.plan(reader, job, sizing=sizing)
    except Killed:
        return sandbox.plan(reader, job, sizing=sizing)


def job_of(row: dict[str, Any], rule: SamplingRule) -> Job:
    """What a decoder is to do with the video of a ``SOURCES`` or ``TASKS`` row."""
    start, end = (None if row[name] is None else Fraction(row[name]) for name in ("range_start", "range_end"))
    return Job(uri=row["uri"], rule=rule, time_range=TimeRange(start=start, end=end))
