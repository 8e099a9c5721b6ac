"""Reports of runs that count nothing as they go: how they ended, with what error, and when they had reached what."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from pipeline.errors import RunError
from pipeline.extract.results import Clockwork
from pipeline.extract.run_report import Report, State
from pipeline.lake.dataset import Dataset
from pipeline.lake.run_reports import report_name, write_report


def report_failure(datasets: Sequence[Dataset], clockwork: Clockwork, error: RunError) -> None:
    """Leave the report of a run that failed before it had anything to count, in those of its datasets that exist."""
    with suppress(RunError):  # the store may be what failed; the command says so itself
        _leave([each for each in datasets if each.info() is not None], clockwork, state="failed", error=str(error))


@contextmanager
def reported(dataset: Dataset, clockwork: Clockwork) -> Iterator[None]:
    """Leave the report of what is done while the context is open, however it ends."""
    try:
        yield
    except Exception as error:
        with suppress(RunError):
            _leave([dataset], clockwork, state="failed", error=str(error))
        raise
    except BaseException as error:
        with suppress(RunError):
            _leave([dataset], clockwork, state="interrupted", error=type(error).__name__)
        raise
    _leave([dataset], clockwork, state="finished", error=None)


def _leave(datasets: Sequence[Dataset], clockwork: Clockwork, *, state: State, error: str | None) -> None:
    began = datetime.fromtimestamp(clockwork.began, UTC)
    report = Report(
        command=clockwork.command,
        state=state,
        error=error,
        began=began,
        written=datetime.now(UTC),
        marks_s=dict(clockwork.marks),
        hardware=None,
        num_actors=0,
        stages={},
        timeline=(),
    )
    name = report_name(began, run=secrets.token_hex(4))
    for dataset in datasets:
        write_report(dataset, name, report.to_json())
