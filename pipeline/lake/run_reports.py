"""The reports of a dataset's runs: where each lies, and how it is read, by whatever version it was written."""

import json
from datetime import datetime

from pipeline.lake.dataset import Dataset
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.documents import Document, document_of, text

RUNS = "_vidlake/runs"


def report_name(began: datetime, *, run: str) -> str:
    """The file with the report of a run: the names of a folder sort by when the runs began.

    ``run`` tells it from one that began in the same second.
    """
    return f"{RUNS}/{began:%Y%m%dT%H%M%S}-{run}.json"


def write_report(dataset: Dataset, name: str, report: Document) -> None:
    """Publish a report in the place of the one that the run wrote before.

    Raises:
        StorageError: the store failed.
    """
    dataset.store.publish(name, json.dumps(report).encode(), overwrite=True)


def read_reports(dataset: Dataset, *, most: int) -> list[Document]:
    """The reports of the last ``most`` runs, the newest first; what is no report is passed over.

    Each has a ``state``, ``began`` and ``written``, and ``name``, which no other run of the dataset has.

    Raises:
        StorageError: the store failed.
    """
    names = [name for name in dataset.store.list(RUNS) if name.endswith(".json")]
    reports: list[Document] = []
    for name in reversed(names):
        if len(reports) == most:
            break
        if (report := _read(dataset, name)) is not None:
            reports.append(report)
    return reports


def _read(dataset: Dataset, name: str) -> Document | None:
    try:
        report = document_of(json.loads(dataset.store.read(name)), name=name)
        for key in ("began", "written"):
            if datetime.fromisoformat(text(report, key)).tzinfo is None:
                return None
        text(report, "state")
    except (MissingFile, ValueError, KeyError, TypeError, RecursionError):
        return None
    return {**report, "name": name.rpartition("/")[2].removesuffix(".json")}
