"""Decoder processes for the tests, and videos in memory for them to read."""

import time
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PipelineError
from pipeline.media.process.messages import Ended
from pipeline.media.process.sandbox import Job, Picture, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.segments import Sizing, TimeRange
from pipeline.storage.reader import Reader


class BytesReader(Reader):
    """A video in memory, on a store that may be slow or fail."""

    def __init__(self, content: bytes, *, delay_s: float = 0.0, fault: PipelineError | None = None) -> None:
        self.uri = "memory.mp4"
        self.size_bytes = len(content)
        self.content = content
        self.delay_s = delay_s
        self.fault = fault
        self.fails_from = 0

    def read_at(self, offset: int, length: int) -> bytes:
        time.sleep(self.delay_s)
        if self.fault is not None and offset + length > self.fails_from:
            raise self.fault
        return self.content[offset : offset + length]

    def close(self) -> None:
        pass

    def _identities(self) -> list[object]:  # type: ignore[override]
        return []


@dataclass
class Outcome:
    pictures: dict[int, list[np.ndarray]]
    ended: list[Ended]


def job(rule: str = "fps:5") -> Job:
    return Job(uri="memory.mp4", rule=parse_rule(rule), time_range=TimeRange())


def extract(sandbox: Sandbox, reader: Reader, rule: str = "fps:5") -> Outcome:
    plan = sandbox.plan(reader, job(rule), sizing=Sizing(duration_s=0.8))
    outcome = Outcome({segment.index: [] for segment in plan.segments}, [])
    for event in sandbox.decode(reader, job(rule), facts=plan.facts, segments=plan.segments):
        if isinstance(event, Picture):
            outcome.pictures[event.segment].append(event.pixels.copy())
        elif isinstance(event, Ended):
            outcome.ended.append(event)
    assert [ended.segment for ended in outcome.ended] == [segment.index for segment in plan.segments]
    return outcome
