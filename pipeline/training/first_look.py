"""What ``train`` looks at before anything is learned, and all that a dry run does: labels, and the report on them."""

from collections.abc import Callable

from pipeline.errors import UsageError
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.registry import HeadAddress
from pipeline.training.labels.label_rows import LabelRows
from pipeline.training.labels.labelled_videos import read_labels
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.labels.report import LabelReport
from pipeline.training.request import TrainRequest

Say = Callable[[str], None]


def look_at_labels(request: TrainRequest, *, say: Say) -> LabelReport:
    """The report alone; nothing is written.

    Raises:
        UsageError: the request, the lake or the labels do not fit; a class has no training unit.
        StorageError: a store failed.
    """
    address_of(request.out)
    lake = LakeFeatures.at(request.lake)
    return reported(examples_of(lake, read_labels(lake, request.labels), request), say=say).report


def address_of(out: str) -> HeadAddress:
    """Where a head is to lie.

    Raises:
        UsageError: it is no good name, or names a version.
    """
    address = HeadAddress.parse(out)
    if address.version is not None:
        raise UsageError(f"--out {out}: give HEADS/NAME; the version gets its number by itself")
    return address


def examples_of(lake: LakeFeatures, rows: LabelRows, request: TrainRequest) -> LakeExamples:
    """The labelled units that a request asks for, in their parts; raises as ``LakeExamples.of`` does."""
    return LakeExamples.of(
        lake, rows, options=request.labels, split=request.split, unit=request.fit.unit, period=request.period
    )


def reported(examples: LakeExamples, *, say: Say) -> LakeExamples:
    """The examples, once the report on them is said.

    Raises:
        UsageError: a class has no training unit.
    """
    report = examples.report
    for line in [*report.lines(), *report.warnings()]:
        say(line)
    report.check()
    return examples
