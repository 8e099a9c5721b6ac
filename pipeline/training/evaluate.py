"""``evaluate``: the scores of a head on a part of a lake, by the split that it was trained with, or on all of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.artifact import document_bytes
from pipeline.models.heads.files import CONFUSION, METRICS
from pipeline.models.heads.head import Head
from pipeline.models.heads.registry import HeadAddress, Heads, LoadedVersion
from pipeline.records.documents import Document
from pipeline.records.extras import require_extra
from pipeline.records.periods import Period
from pipeline.records.units import Units
from pipeline.training.examples import PARTS, VideoExamples
from pipeline.training.fitting.fitted import Say
from pipeline.training.fitting.scratch import scratch_folder
from pipeline.training.labels.labelled_videos import read_labels
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.live_comparison import LiveComparison, live_head
from pipeline.training.made_by import MadeBy, made_by_of
from pipeline.training.request import LabelOptions, SplitOptions
from pipeline.training.scoring.metrics import Answered, Scores, Totals, baseline_of, gathered, scores_of
from pipeline.training.scoring.picture import confusion_png

On = Literal["test", "validation", "train", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """One ``vidlake evaluate``, as it was parsed."""

    head: str
    """``HEADS/NAME`` or ``HEADS/NAME@VERSION``."""
    lake: str
    labels_file: str | None
    label_column: str
    on: On
    out: str | None
    """A folder for ``metrics.json`` and ``confusion.png``."""
    live: str | None = None
    """A server that is asked about the same videos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A head and the labelled units that it is to be measured on."""

    loaded: LoadedVersion
    examples: LakeExamples
    on: On

    @property
    def head(self) -> Head:
        """The head."""
        return self.loaded.head

    def videos(self) -> Iterator[tuple[VideoExamples, NDArray[np.int64]]]:
        """The videos, each with the places of its units that are measured."""
        videos = self.examples() if self.on == "all" else self.examples.of_part(self.on)
        for video in videos:
            yield video, _places(video, self.on)

    @property
    def num_units(self) -> int:
        """How many units are measured."""
        return sum(self.examples.num_units(part) for part in (PARTS if self.on == "all" else (self.on,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What an ``evaluate`` found."""

    head: str
    """``NAME@VERSION``."""
    lake: str
    on: On
    scores: Scores
    baseline_label: str
    baseline: Totals
    live: LiveComparison | None = None

    def to_json(self) -> Document:
        """Also what ``metrics.json`` holds."""
        return {
            "head": self.head,
            "lake": self.lake,
            "on": self.on,
            **self.scores.to_json(),
            "baseline": {"label": self.baseline_label, **self.baseline.to_json()},
            **({} if self.live is None else {"live": self.live.to_json()}),
        }


def evaluate(request: EvaluateRequest, *, say: Say) -> Evaluated:
    """Measure a head.

    Raises:
        UsageError: the head, the lake or the labels do not fit, or there is nothing to measure.
        StorageError: a store failed.
    """
    require_extra("train", command="evaluate")
    evaluation = prepare(request, say=say)
    if request.live is None:
        evaluated = _measured(evaluation)
    else:
        with live_head(request.live, evaluation.loaded) as server:  # one that does not fit is refused first
            evaluated = _measured(evaluation)
            lake = evaluation.examples.videos.lake
            compared = server.compare((video for video, _ in evaluation.videos()), lake)
        evaluated = replace(evaluated, live=compared)
    if request.out is not None:
        _write(evaluated, evaluation, out=request.out)
    return evaluated


def _measured(evaluation: Evaluation) -> Evaluated:
    with scratch_folder() as scratch:
        answered = _answered(evaluation, scratch=scratch)
        scores = scores_of(answered)
        commonest = _commonest(evaluation)
        return Evaluated(
            head=str(evaluation.loaded),
            lake=evaluation.examples.videos.lake.uri,
            on=evaluation.on,
            scores=scores,
            baseline_label=commonest,
            baseline=baseline_of(answered, commonest=commonest),
        )


def prepare(request: EvaluateRequest, *, say: Say) -> Evaluation:
    """Load the head, read the labels, and find the part of each unit as the training did. Raises as ``evaluate``."""
    address = HeadAddress.parse(request.head)
    heads = Heads(backend_at(address.heads).store)
    loaded = heads.load(address.name, address.version)
    lake = LakeFeatures.at(request.lake)
    lake.require_fit(loaded.head.info, head=str(loaded))
    made_by = made_by_of(heads.metrics(loaded.name, loaded.version))
    info = loaded.head.info
    options = LabelOptions(
        file=request.labels_file,
        column=request.label_column,
        group=None if made_by is None or request.on == "all" else made_by.group,
        is_multi_label=info.is_multi_label,
    )
    rows = read_labels(lake, options)
    if request.on != "all" and not rows.has_parts:
        _warn_of_other_split(made_by, lake_digest=lake.digest, labels_digest=rows.digest, say=say)
    examples = LakeExamples.of(
        lake,
        rows,
        options=options,
        split=SplitOptions() if made_by is None else made_by.split,
        unit=info.unit,
        period=Period() if made_by is None or request.on == "all" else made_by.period,
        classes=info.labels,
        finds_twins=request.on != "all",
    )
    evaluation = Evaluation(loaded=loaded, examples=examples, on=request.on)
    if not evaluation.num_units:
        raise UsageError(f"{rows.source}: no {info.unit} of the part {request.on}: give --on all, or other labels")
    return evaluation


def _warn_of_other_split(made_by: MadeBy | None, *, lake_digest: str, labels_digest: str, say: Say) -> None:
    if made_by is None or (made_by.lake_digest, made_by.labels_digest) != (lake_digest, labels_digest):
        say(
            "warning: labels or lake are not those of the training, so the split is another one: the head may have "
            "been trained on these units (give --on all for a lake that it has not seen, or labels with a column split)"
        )


def _answered(evaluation: Evaluation, *, scratch: Path) -> Answered:
    """What the head says of all units that are measured."""
    info = evaluation.head.info
    targets = np.zeros((evaluation.num_units, len(info.labels)), np.float32)

    def probabilities() -> Iterator[NDArray[np.float32]]:
        first = 0
        for video, places in evaluation.videos():
            targets[first : first + len(places)] = video.targets[places]
            first += len(places)
            yield answers_of(evaluation.head, video, places)

    return gathered(targets, probabilities(), labels=info.labels, thresholds=info.thresholds, scratch=scratch)


def answers_of(head: Head, video: VideoExamples, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """The probabilities ``float32[U, C]`` of some labelled units of a video."""
    if head.info.is_each_sample_alone:
        return head.frames(video.features[video.units.begin[places]])
    units = video.units
    chosen = Units(
        begin=units.begin[places], end=units.end[places], time_s=units.time_s[places], end_s=units.end_s[places]
    )
    return head.of_units(video.features, chosen, runs=video.samples.epochs)


def _places(video: VideoExamples, on: On) -> NDArray[np.int64]:
    if on == "all":
        return np.arange(len(video.units), dtype=np.int64)
    return np.flatnonzero(video.parts == PARTS.index(on))


def _commonest(evaluation: Evaluation) -> str:
    """The commonest label of training or, where there is none here, of what is measured."""
    classes = evaluation.examples.report.classes
    sums = {label: of["train"].units for label, of in classes.items()}
    if evaluation.on == "all" or not any(sums.values()):
        sums = {label: sum(count.units for count in of.values()) for label, of in classes.items()}
    return max(sums, key=lambda label: sums[label])


def _write(evaluated: Evaluated, evaluation: Evaluation, *, out: str) -> None:
    info = evaluation.head.info
    store = backend_at(out).store
    store.ensure_writable()
    picture = confusion_png(
        evaluated.scores.confusion,
        info.labels,
        title=f"{evaluated.head}, {evaluated.on}",
        is_multi_label=info.is_multi_label,
    )
    store.publish(METRICS, document_bytes(evaluated.to_json()), overwrite=True)
    store.publish(CONFUSION, picture, overwrite=True)
