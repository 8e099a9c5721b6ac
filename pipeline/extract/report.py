"""The report of a run, in its dataset: written anew as the run goes, so that one that is killed leaves its last."""

import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from pipeline.errors import RunError
from pipeline.extract.context import RunContext
from pipeline.extract.results import Clockwork
from pipeline.extract.tally import StageReports

RUNS = "_vidlake/runs"
_EVERY_S = 5.0
_JOINED_WITHIN_S = 5.0

State = Literal["running", "finished", "failed", "interrupted"]
"""A report that says ``running`` and is old is that of a run that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run did until ``written``."""

    state: State
    error: str | None
    began: datetime
    written: datetime
    marks_s: dict[str, float]
    stages: StageReports

    def to_json(self) -> dict[str, object]:
        """The document as it lies in the dataset."""
        times = {"began": self.began.isoformat(), "written": self.written.isoformat()}
        stages = {name: stage.to_json() for name, stage in self.stages.items()}
        return {"state": self.state, "error": self.error, **times, "marks_s": self.marks_s, "stages": stages}


class Reporting:
    """Keeps the report of a run that goes on while the context is open."""

    def __init__(self, context: RunContext, clockwork: Clockwork) -> None:
        self._context = context
        self._clockwork = clockwork
        self._began = datetime.fromtimestamp(clockwork.began, UTC)
        self._name = f"{RUNS}/{self._began:%Y%m%dT%H%M%S}-{context.targets[0].token[-8:]}.json"
        self._stages: StageReports = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()
        if error is not None:
            with suppress(RunError):  # what ended the run comes first
                self._count()
            with suppress(RunError):
                is_failure = isinstance(error, Exception)
                self._write("failed" if is_failure else "interrupted", error=str(error) or type(error).__name__)

    def finish(self) -> StageReports:
        """Write that the run has done all that it was to do; returns what that was.

        Raises:
            RunError: the store or the cluster failed.
        """
        self._stop()
        self._count()
        self._clockwork.mark("end")
        self._write("finished")
        return self._stages

    def _write_regularly(self) -> None:
        while True:
            with suppress(RunError):  # the store may be back, and what is wrong for good ends the run elsewhere
                self._count()
                self._write("running")
            if self._is_over.wait(_EVERY_S):
                return

    def _stop(self) -> None:
        self._is_over.set()
        self._thread.join(timeout=_JOINED_WITHIN_S)

    def _count(self) -> None:
        self._stages = self._context.tally.reports()

    def _write(self, state: State, *, error: str | None = None) -> None:
        report = Report(
            state=state,
            error=error,
            began=self._began,
            written=datetime.now(UTC),
            marks_s=dict(self._clockwork.marks),
            stages=self._stages,
        )
        store = self._context.targets[0].dataset.store
        store.publish(self._name, json.dumps(report.to_json()).encode(), overwrite=True)
