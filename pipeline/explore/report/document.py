"""The report on a lake: its status, what it was made of, what failed, and how its runs went."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pipeline import __version__
from pipeline.explore.report.archive import ArchiveFigures, archive_figures
from pipeline.explore.report.coverage import Coverage, coverage_of
from pipeline.explore.report.runs import RunFigures, run_figures
from pipeline.lake.dataset import Dataset
from pipeline.lake.run_reports import read_reports
from pipeline.lake.shots import predictions_at
from pipeline.lake.tables import FolderStatus, Status, derived_tables, read_statuses
from pipeline.records.documents import Document

MOST_RUNS = 50
"""That are told, the last ones: a file that opens in a browser stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What is told of one dataset."""

    uri: str
    status: Status
    archive: ArchiveFigures
    stored_bytes: int
    """Of its features files."""
    num_files: int
    coverage: tuple[Coverage, ...]
    """Of streams."""
    runs: tuple[RunFigures, ...]
    """The last ones, the newest first."""

    def to_json(self) -> Document:
        """A part of what ``report --json`` prints."""
        return {
            "uri": self.uri,
            "status": self.status.to_json(),
            **asdict(self.archive),
            "stored_bytes": self.stored_bytes,
            "num_files": self.num_files,
            "coverage": [asdict(stream) for stream in self.coverage],
            "runs": [asdict(run) for run in self.runs],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeReport:
    """What is told of a lake."""

    uri: str
    written: str
    datasets: tuple[DatasetReport, ...]
    """One, or those of a folder with several models."""

    def to_json(self) -> Document:
        """The document of ``report --json``."""
        return {
            "uri": self.uri,
            "written": self.written,
            "version": __version__,
            "datasets": [dataset.to_json() for dataset in self.datasets],
        }


def read_report(uri: str, *, now: datetime | None = None) -> LakeReport:
    """The report on the dataset at ``uri``, or on those of a folder; ``now``: when it is made.

    Raises:
        UsageError: there is none.
        ForeignFile: what lies in the dataset is not ours, or damaged.
        StorageError: the store failed.
    """
    now = now or datetime.now(UTC)
    found = read_statuses(uri)
    root = Dataset.at(uri)
    statuses = found.datasets if isinstance(found, FolderStatus) else {"": found}
    return LakeReport(
        uri=root.store.uri,
        written=now.isoformat(timespec="seconds"),
        datasets=tuple(
            _dataset_report(f"{root.store.uri}/{name}" if name else root.store.uri, status, now=now)
            for name, status in statuses.items()
        ),
    )


def read_runs(uri: str, *, now: datetime, most: int = MOST_RUNS) -> tuple[RunFigures, ...]:
    """How the last runs of a dataset went, those of ``vidlake shots`` too, the newest first."""
    found = [
        report for dataset in (Dataset.at(uri), predictions_at(uri)) for report in read_reports(dataset, most=most)
    ]
    figures = [run for report in found if (run := run_figures(report, now=now)) is not None]
    return tuple(sorted(figures, key=lambda run: run.began, reverse=True)[:most])


def _dataset_report(uri: str, status: Status, *, now: datetime) -> DatasetReport:
    dataset = Dataset.at(uri)
    if dataset.info() is None:  # a lake of shots alone
        dataset = predictions_at(uri)
    footers = [(footer.data_bytes, footer.num_rows) for _, footer in dataset.features.footers()]
    return DatasetReport(
        uri=uri,
        status=status,
        archive=archive_figures(derived_tables(dataset)),
        stored_bytes=sum(num_bytes for num_bytes, _ in footers),
        num_files=len(footers),
        coverage=coverage_of(dataset),
        runs=read_runs(uri, now=now),
    )
