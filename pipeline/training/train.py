"""``train``: labels and a lake's features become a version of a head, whole, once, and with its card."""

import platform
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from pipeline import __version__
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.publishing.store import Store
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.artifact import document_bytes, head_bytes, read_document
from pipeline.models.heads.files import CONFUSION, METRICS, README
from pipeline.models.heads.registry import HeadAddress, current_in
from pipeline.records.documents import Document
from pipeline.records.extras import require_extra
from pipeline.records.heads import HeadInfo
from pipeline.records.shards import WHOLE
from pipeline.training.first_look import address_of, examples_of, reported
from pipeline.training.fitting.fit import check_options, fit_head
from pipeline.training.fitting.fitted import Fitted, Say
from pipeline.training.fitting.scratch import scratch_folder
from pipeline.training.head_place import HeadPlace, head_place, version_made_by
from pipeline.training.labels.labelled_videos import read_labels
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.made_by import MadeBy
from pipeline.training.measuring import measure
from pipeline.training.request import TrainRequest
from pipeline.training.scoring.measured import Measured
from pipeline.training.scoring.model_card import Card
from pipeline.training.scoring.picture import confusion_png

_LIBRARIES = ("numpy", "scikit-learn", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a ``train``."""

    uri: str
    """``HEADS/NAME``."""
    version: int
    is_new: bool
    """False: the same words had made it before."""
    current: int | None
    """The version in use."""
    metrics: Document


def train(request: TrainRequest, *, say: Say) -> Trained:
    """Train a head and publish it as a new version, unless the same words have made one of the same rows.

    Raises:
        UsageError: as ``look_at_labels`` does, or another run is at work on this head.
        RunError: the run failed and can be resumed.
    """
    require_extra("train", command="train")
    check_options(request.fit)
    address = address_of(request.out)
    backend = backend_at(address.uri)
    lake = LakeFeatures.at(request.lake)
    rows = read_labels(lake, request.labels)
    made_by = MadeBy.of(request, lake=lake, labels_digest=rows.digest)
    known = None if request.again else version_made_by(backend.store, made_by.digest)
    if known is None:
        backend.check(slot=WHOLE)
        examples = reported(examples_of(lake, rows, request), say=say)
        with head_place(backend) as place:
            known = None if request.again else version_made_by(place.store, made_by.digest)
            if known is None:
                return _trained(examples, request, place=place, address=address, made_by=made_by, say=say)
    result = _result(backend.store, version=known, is_new=False)
    say(f"{address}@{known} is what these words make of this lake: nothing to do (--again trains it anew)")
    if request.uses_it and result.current != known:
        say(f"another version is in use; to choose this one: vidlake heads {address} --use {known}")
    return result


def _trained(
    examples: LakeExamples, request: TrainRequest, *, place: HeadPlace, address: HeadAddress, made_by: MadeBy, say: Say
) -> Trained:
    with scratch_folder() as scratch:
        fitted = fit_head(
            examples,
            request.fit,
            examples.labels,
            is_multi_label=request.labels.is_multi_label,
            scratch_folder=_folder(scratch, "parts"),
            checkpoints=place.checkpoints(made_by.digest),
            say=say,
        )
        say("measuring")
        measured = measure(examples, fitted, seed=request.fit.seed, scratch=_folder(scratch, "answers"))
        info = _info(examples, request, fitted)
        version = place.next_version
        shown = measured.parts[measured.shown]
        files = {
            **head_bytes(info, fitted.arrays),
            METRICS: document_bytes({**measured.to_json(), "made_by": made_by.to_json()}),
            CONFUSION: confusion_png(
                shown.confusion,
                info.labels,
                title=f"{address.name}@{version}, {measured.shown}",
                is_multi_label=info.is_multi_label,
            ),
            README: _card(request, info, measured, address=address, version=version).text().encode(),
        }
    place.publish(files, version=version, digest=made_by.digest, uses_it=request.uses_it)
    return _result(place.store, version=version, is_new=True)


def _info(examples: LakeExamples, request: TrainRequest, fitted: Fitted) -> HeadInfo:
    lake = examples.videos.lake
    fit = request.fit
    return HeadInfo(
        kind=fit.kind,
        labels=examples.labels,
        unit=fit.unit,
        steps=fit.steps,
        pool=() if fit.kind.takes_sequences else fit.pool,
        is_multi_label=request.labels.is_multi_label,
        thresholds=fitted.thresholds,
        temperature=fitted.temperature,
        backbones=lake.backbones,
        sample=lake.sample,
        lake=lake.uri,
        labels_digest=examples.videos.rows.digest,
        seed=fit.seed,
        versions={
            "vidlake": __version__,
            "python": platform.python_version(),
            **{name: version_of(name) for name in _LIBRARIES},
        },
    )


def _card(request: TrainRequest, info: HeadInfo, measured: Measured, *, address: HeadAddress, version: int) -> Card:
    return Card(
        address=address.uri, version=version, info=info, measured=measured, fit=request.fit, split=request.split
    )


def _result(store: Store, *, version: int, is_new: bool) -> Trained:
    return Trained(
        uri=store.uri,
        version=version,
        is_new=is_new,
        current=current_in(store, ""),
        metrics=read_document(store, f"{version}/{METRICS}"),
    )


def _folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    folder.mkdir()
    return folder
