"""The report of a run, in its dataset: written anew as the run goes, so that one that is killed leaves its last."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from pipeline.cluster.start import cause_of
from pipeline.errors import RunError
from pipeline.extract.context import RunContext
from pipeline.extract.results import Clockwork
from pipeline.extract.run_report import Point, Report, State, Timeline
from pipeline.extract.tally import StageReports, counts_of
from pipeline.lake.run_reports import report_name, write_report

_EVERY_S = 5.0
_COUNTED_WITHIN_S = 5.0
# A cluster that is at the end of its work may be busy, but it is there.
_COUNTED_AT_THE_END_WITHIN_S = 60.0
_LEFT_AFTER_S = 15.0


class Reporting:
    """Keeps the report of a run that goes on while the context is open.

    One thread writes it, so that what is written last is what lies there in the end.
    """

    def __init__(self, context: RunContext, clockwork: Clockwork) -> None:
        self._context = context
        self._clockwork = clockwork
        self._began = datetime.fromtimestamp(clockwork.began, UTC)
        self._name = report_name(self._began, run=context.places[0].token[-8:])
        self._state: State = "running"
        self._error: str | None = None
        self._stages: StageReports = {}
        self._timeline = Timeline()
        self._failure: RunError | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not self._is_over.is_set():
            if isinstance(error, Exception):
                self._error = str(cause_of(error))
                self._end("failed")
            else:
                self._error = type(error).__name__
                self._end("interrupted")
            self._thread.join(timeout=_LEFT_AFTER_S)  # what ended the run is told first, whatever the store is doing

    def finish(self) -> StageReports:
        """Write that the run has done all that it was to do; returns what that was.

        Raises:
            RunError: the store or the cluster failed.
        """
        self._clockwork.mark("end")
        self._end("finished")
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._stages

    def _end(self, state: State) -> None:
        self._state = state
        self._is_over.set()

    def _keep(self) -> None:
        pause_s = 0.0
        while not self._is_over.wait(pause_s):
            with suppress(RunError):  # the store may be back, and what is wrong for good ends the run elsewhere
                self._count(within_s=_COUNTED_WITHIN_S)
                self._write()
            pause_s = _EVERY_S
        try:
            self._count_at_the_end()
            self._write()
        except RunError as error:
            self._failure = error

    def _count_at_the_end(self) -> None:
        if self._state == "finished":
            self._count(within_s=_COUNTED_AT_THE_END_WITHIN_S)
        else:
            with suppress(RunError):  # the cluster may be what failed: then what was counted last is told
                self._count(within_s=_COUNTED_WITHIN_S)

    def _count(self, *, within_s: float) -> None:
        self._stages = self._context.tally.reports(within_s=within_s)
        self._timeline.add(
            Point(
                at_s=round(time.time() - self._clockwork.began, 3),
                decode=counts_of(self._stages, "decode").num_samples,
                embed=counts_of(self._stages, "embed").num_samples,
                commit=counts_of(self._stages, "commit").num_samples,
            )
        )

    def _write(self) -> None:
        report = Report(
            command=self._clockwork.command,
            state=self._state,
            error=self._error,
            began=self._began,
            written=datetime.now(UTC),
            marks_s=dict(self._clockwork.marks),
            hardware=self._context.hardware,
            num_actors=self._context.sizes.num_actors if self._context.has_models else 0,
            stages=self._stages,
            timeline=self._timeline.points,
        )
        for place in self._context.places:  # each of them may be copied away alone
            write_report(place.dataset, self._name, report.to_json())
