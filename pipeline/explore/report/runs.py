"""How one run went: throughput over time, what each stage was busy with, and what held it up, from its report."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from pipeline.records.documents import (
    Document,
    document_of,
    number,
    part,
    parts,
    text,
    text_or_none,
    whole,
)

STAGES = ("plan", "decode", "embed", "commit")
_RATED = ("decode", "embed", "commit")
_KILLED_AFTER = timedelta(seconds=60)
"""A run that goes on writes its report every few seconds."""
_BUSY = 0.8
"""From this utilisation on, the model's actors are what a run waits for: as the progress line of a run has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """What one stage did in a run."""

    name: str
    num_workers: int
    busy_s: float
    """Of all its workers together."""
    utilisation: float | None
    """The share of the time that its workers were busy, 0 to 1; ``None``: it did nothing."""
    num_samples: int
    num_bytes: int
    private_bytes: int
    """The most that one of its workers had for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Samples a second that came out of each stage, up to so many seconds after the command began."""

    at_s: float
    decode: float
    embed: float
    commit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """How one run went."""

    name: str
    command: str
    state: str
    """``running``, ``finished``, ``failed``, ``interrupted``, or ``killed``: it went silent while it ran."""
    error: str | None
    began: str
    seconds: float
    marks_s: Document
    hardware: Document | None
    num_samples: int
    video_s: float
    num_bytes: int
    """Of the files that it wrote."""
    samples_per_s: float | None
    """While its stages were at work."""
    bottleneck: str | None
    """``decode`` or ``model``; ``None``: it did not come to decode."""
    ceiling_per_s: float | None
    """What its model actors would have done without a pause."""
    share_of_ceiling: float | None
    stages: tuple[StageFigures, ...]
    rates: tuple[Rate, ...]


def run_figures(report: Document, *, now: datetime) -> RunFigures | None:
    """The figures of a report; ``None``: it is not one that a run of ours has written.

    Reports of earlier versions say less: they have no timeline, and do not name their command.
    """
    try:
        return _figures(report, now=now)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _figures(report: Document, *, now: datetime) -> RunFigures:
    stages = part(report, "stages")
    known = {name: part(stages, name) for name in STAGES if name in stages}
    span_s = _span_s([known[name] for name in ("decode", "embed") if name in known])
    num_actors = whole(report, "num_actors") if "num_actors" in report else 0
    hardware = part(report, "hardware") if report.get("hardware") is not None else None
    num_cpus = whole(hardware, "num_cpus") if hardware else 0
    at_most = {"embed": num_actors, "decode": num_cpus}
    figures = {name: _stage(name, stage, span_s=span_s, at_most=at_most.get(name, 0)) for name, stage in known.items()}
    embed, decode = figures.get("embed"), figures.get("decode")
    last = embed or decode
    rate = last.num_samples / span_s if last and span_s > 0 else None
    ceiling = embed.num_workers * embed.num_samples / embed.busy_s if embed and embed.busy_s > 0 else None
    began, written = (datetime.fromisoformat(text(report, name)) for name in ("began", "written"))
    return RunFigures(
        name=text(report, "name"),
        command=text(report, "command") if "command" in report else "extract",
        state="killed"
        if text(report, "state") == "running" and now - written > _KILLED_AFTER
        else text(report, "state"),
        error=text_or_none(report, "error"),
        began=began.isoformat(timespec="seconds"),
        seconds=(written - began).total_seconds(),
        marks_s=part(report, "marks_s"),
        hardware=hardware,
        num_samples=last.num_samples if last else 0,
        video_s=number(known["decode"], "video_s") if "decode" in known else 0.0,
        num_bytes=whole(known["commit"], "num_bytes") if "commit" in known else 0,
        samples_per_s=rate,
        bottleneck=_bottleneck(decode, embed),
        ceiling_per_s=ceiling,
        share_of_ceiling=rate / ceiling if rate is not None and ceiling else None,
        stages=tuple(figures.values()),
        rates=_rates(parts(report, "timeline") if "timeline" in report else []),
    )


def _stage(name: str, stage: Document, *, span_s: float, at_most: int) -> StageFigures:
    workers = _workers(stage)
    num_workers = min(len(workers), at_most) if at_most else len(workers)
    busy_s = sum(number(worker, "busy_s") for worker in workers)
    return StageFigures(
        name=name,
        num_workers=num_workers,
        busy_s=busy_s,
        utilisation=min(1.0, busy_s / (span_s * num_workers)) if span_s > 0 and num_workers else None,
        num_samples=whole(stage, "num_samples"),
        num_bytes=whole(stage, "num_bytes"),
        private_bytes=max((whole(worker, "private_bytes") for worker in workers), default=0),
    )


def _workers(stage: Document) -> list[Document]:
    return [document_of(worker, name=name) for name, worker in part(stage, "workers").items()]


def _span_s(stages: list[Document]) -> float:
    """From the first to the last moment that a worker of these stages was at work."""
    moments = [
        float(moment)
        for stage in stages
        for worker in _workers(stage)
        for stretch in _lists(worker["stretches"])
        for moment in _lists(stretch)
        if isinstance(moment, int | float)
    ]
    return max(moments) - min(moments) if moments else 0.0


def _lists(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{str(value)[:60]!r} is not a list")
    return value


def _bottleneck(decode: StageFigures | None, embed: StageFigures | None) -> str | None:
    if decode is None or not decode.busy_s:
        return None
    return "model" if embed is not None and (embed.utilisation or 0) > _BUSY else "decode"


def _rates(points: list[Document]) -> tuple[Rate, ...]:
    rates = []
    for earlier, later in pairwise(points):
        seconds = number(later, "at_s") - number(earlier, "at_s")
        if seconds > 0:
            decode, embed, commit = ((whole(later, name) - whole(earlier, name)) / seconds for name in _RATED)
            rates.append(Rate(at_s=number(later, "at_s"), decode=decode, embed=embed, commit=commit))
    return tuple(rates)
