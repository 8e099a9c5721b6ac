"""What a version was made by: words, labels and the settled segments of the lake. The same again is done already."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Self

from pipeline.lake.video_features import LakeFeatures
from pipeline.records.documents import (
    Document,
    document_of,
    flag,
    number,
    number_or_none,
    part,
    text,
    text_or_none,
    whole,
)
from pipeline.records.periods import Period
from pipeline.training.request import SplitOptions, TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBy:
    """What stands under ``made_by`` in ``metrics.json``; what the label file is called is no part of it."""

    lake_digest: str
    labels_digest: str
    group: str | None
    is_multi_label: bool
    split: SplitOptions
    period: Period
    words: Document
    """The further options that a version follows from."""

    @classmethod
    def of(cls, request: TrainRequest, *, lake: LakeFeatures, labels_digest: str) -> Self:
        """What a request would make a version by."""
        fit = request.fit
        return cls(
            lake_digest=lake.digest,
            labels_digest=labels_digest,
            group=request.labels.group,
            is_multi_label=request.labels.is_multi_label,
            split=request.split,
            period=request.period,
            words={
                "lake": lake.uri,
                "head": str(fit.kind),
                "unit": str(fit.unit),
                "features": list(fit.steps),
                "pool": list(fit.pool),
                "class_weights": fit.class_weights,
                "epochs": fit.epochs,
                "batch_size": fit.batch_size,
                "learning_rate": fit.learning_rate,
            },
        )

    @property
    def digest(self) -> str:
        """The same where a version would be the same."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        return {"digest": self.digest, **self._content()}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is no such document.
        """
        return cls(
            lake_digest=text(document, "lake_digest"),
            labels_digest=text(document, "labels_digest"),
            group=text_or_none(document, "group"),
            is_multi_label=flag(document, "multi_label"),
            split=SplitOptions(
                validation=number(document, "validation"), test=number(document, "test"), seed=whole(document, "seed")
            ),
            period=Period(
                begin_s=_bound(document, "since_s", open_s=-math.inf),
                end_s=_bound(document, "until_s", open_s=math.inf),
            ),
            words=part(document, "words"),
        )

    def _content(self) -> Document:
        return {
            "lake_digest": self.lake_digest,
            "labels_digest": self.labels_digest,
            "group": self.group,
            "multi_label": self.is_multi_label,
            "validation": self.split.validation,
            "test": self.split.test,
            "seed": self.split.seed,
            "since_s": _finite(self.period.begin_s),
            "until_s": _finite(self.period.end_s),
            "words": self.words,
        }


def made_by_of(metrics: Document) -> MadeBy | None:
    """What a version's ``metrics.json`` says that it was made by; ``None``: it does not say."""
    try:
        return MadeBy.from_json(document_of(metrics.get("made_by"), name="made_by"))
    except (KeyError, TypeError, ValueError):
        return None


def _finite(bound_s: float) -> float | None:
    return bound_s if math.isfinite(bound_s) else None


def _bound(document: Document, name: str, *, open_s: float) -> float:
    bound_s = number_or_none(document, name)
    return open_s if bound_s is None else bound_s
