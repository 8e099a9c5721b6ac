"""The side tables that jobs of our own make, beside the features of a dataset or in a folder of their own."""

from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.lake.declarations import Declaration, declaration_of
from pipeline.lake.files import DatasetFiles
from pipeline.records.documents import Document
from pipeline.records.heads import HeadInfo
from pipeline.records.tables import Growth, Table, metadata_of

PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """Which version of which head predicts, on which features."""

    name: str
    version: int
    digest: str
    """Of the head."""
    info: HeadInfo
    sample: str
    """How the videos that it predicts for were sampled."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def to_json(self) -> Document:
        """How the rows of a predictions table are made: the metadata of its schema."""
        return {
            "head": self.name,
            "version": self.version,
            "digest": self.digest,
            "labels": list(self.info.labels),
            "multi_label": self.info.is_multi_label,
            "thresholds": list(self.info.thresholds),
            "kind": str(self.info.kind),
            "unit": str(self.info.unit),
            "models": [backbone.model.name for backbone in self.info.backbones],
            "fingerprint": self.info.fingerprint,
            "sample": self.sample,
        }


def predictions_table(predictor: Predictor, *, growth: Growth) -> Table:
    """A row a unit; ``pts`` is that of its first sample.

    It is appended to where each sample is predicted by itself, and derived where a unit takes several: then the rows of
    a video are replaced whole once it has others.
    """
    fields = [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("epoch", pa.int32()),
        ("pts", pa.int64()),
        ("time_s", pa.float64()),
        ("end_s", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.list_(pa.float32(), len(predictor.info.labels))),
    ]
    if predictor.info.is_multi_label:
        fields.append(("labels", pa.list_(pa.string())))
    schema = pa.schema(fields, metadata=metadata_of(predictor.to_json()))
    return Table(name=PREDICTIONS, schema=schema, key=("video_id", "epoch", "pts", "time_s"), growth=growth)


def check_predictions(files: DatasetFiles, table: Table) -> None:
    """Make sure that the predictions which are there, if any, were made as those of ``table`` will be.

    Raises:
        UsageError: they were not; both heads are named.
        ForeignFile: their declaration is damaged.
    """
    theirs, mine = declaration_of(files, PREDICTIONS), Declaration.of(table)
    if theirs is None or theirs == mine:
        return
    differing = [name for name, value in mine.made_by.items() if theirs.made_by.get(name) != value]
    old, new = _named(theirs.made_by), _named(mine.made_by)
    also = f" of another {differing[0] if differing else 'layout'}" if old == new else ""
    raise UsageError(f"{files.uri(PREDICTIONS)} were made by head {old}{also}, not by {new}: give another --out")


def _named(made_by: Document) -> str:
    return f"{made_by.get('head')}@{made_by.get('version')}"
