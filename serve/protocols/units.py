"""What a trained head answers on ``/v1/classify``: the labels of each unit, a frame, a window of time or the video."""

from dataclasses import dataclass

import pyarrow as pa
from starlette.responses import Response

from serve.inference.head_answers import UnitLabels, samples_of, unit_labels
from serve.inference.head_folder import ServedHead
from serve.inference.labels import Label
from serve.inference.service import FeatureService, Moments
from serve.protocols.answers import Missing, head_headers, label_column
from serve.web.replies import arrow_reply, encoded_apart, json_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifiedUnit:
    """One unit, in seconds from the video's first frame, and its most probable labels."""

    time_s: float
    end_s: float
    labels: list[Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifiedUnits:
    """The answer of ``/v1/classify`` by a head."""

    model: str
    fingerprint: str
    head: str
    version: int
    digest: str
    units: list[ClassifiedUnit]
    missing: list[Missing]


def units_reply(moments: Moments, service: FeatureService, served: ServedHead, *, top: int, is_arrow: bool) -> Response:
    """The whole answer; it computes, and belongs into a thread."""
    answers = unit_labels(served, moments.features, samples_of(moments.marks, end_s=moments.end_s), top=top)
    about = {"model": service.info.name, "fingerprint": service.fingerprint, "head": served.name}
    if is_arrow:
        metadata = {**about, "version": str(served.version), "digest": served.digest}
        reply = arrow_reply(_columns(answers), about=metadata)
    else:
        units, missing = encoded_apart(_units(answers)), [Missing.of(failure) for failure in moments.missing]
        known = {**about, "version": served.version, "digest": served.digest}
        reply = json_reply({**known, "units": units, "missing": missing})
    reply.headers.update(head_headers(served))
    return reply


def _units(answers: UnitLabels) -> list[ClassifiedUnit]:
    return [
        ClassifiedUnit(
            time_s=float(answers.units.time_s[row]),
            end_s=float(answers.units.end_s[row]),
            labels=answers.ranking.labels(row),
        )
        for row in range(len(answers.units))
    ]


def _columns(answers: UnitLabels) -> dict[str, pa.Array]:
    return {
        "time_s": pa.array(answers.units.time_s, pa.float64()),
        "end_s": pa.array(answers.units.end_s, pa.float64()),
        "labels": label_column(answers.ranking),
    }
