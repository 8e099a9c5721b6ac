"""The report as one HTML file: it holds all that it needs, and opens from a disk without a network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files

from pipeline import __version__
from pipeline.explore.plotting.assets import CHARTS, PLOT_SCRIPT, PLOT_STYLE, THEME, asset
from pipeline.explore.report.archive import ArchiveFigures
from pipeline.explore.report.coverage import Coverage
from pipeline.explore.report.document import DatasetReport, LakeReport
from pipeline.explore.report.markup import (
    Cell,
    Markup,
    duration,
    meter,
    moment,
    number,
    path,
    percent,
    shown,
    size,
    state,
    table,
    tiles,
)
from pipeline.explore.report.runs import RunFigures, StageFigures

_SPLITS = {"codec": "Codec", "container": "Container", "size": "Size in pixels"}
_STAGES = {"plan": "plan", "decode": "decode", "embed": "model", "commit": "write"}


def html_of(report: LakeReport) -> str:
    """The report as HTML. What stands in the lake is text in it, and never markup or code."""
    charts: list[Chart] = []
    body = "".join(_dataset(dataset, charts) for dataset in report.datasets)
    style = "\n".join([asset(PLOT_STYLE), asset(THEME), _own("report.css")])
    plot = asset(PLOT_SCRIPT)
    module = asset(CHARTS).replace("export function", "function") + _own("report.js")
    name = report.uri.rstrip("/").rpartition("/")[2]
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(plot)}' '{_digest(module)}'; base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)}: vidlake report</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<header><h1>What is in {escape(name)}</h1>
<p>{shown(path(report.uri))}</p><p class="quiet">as of {escape(moment(report.written))}</p></header>
{body}
<footer>vidlake {escape(__version__)}. The numbers are those of <code>vidlake status</code>. Charts by uPlot.</footer>
</main>
<script type="application/json" id="charts">{_as_data([asdict(chart) for chart in charts])}</script>
<script>{plot}</script>
<script type="module">{module}</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over seconds."""

    xs: Sequence[float]
    series: Sequence[tuple[str, Sequence[float]]]
    x_label: str


def _drawn(chart: Chart, charts: list[Chart], *, label: str) -> str:
    """The place where a chart is drawn."""
    charts.append(chart)
    place = len(charts) - 1
    return f'<div class="chart" role="img" aria-label="{escape(label)}" data-chart="{place}"></div>'


def _own(name: str) -> str:
    return files("pipeline.explore.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _as_data(document: object) -> str:
    """JSON that ends no ``<script>``, whatever stands in it."""
    return json.dumps(document).replace("<", "\\u003c")


def _dataset(report: DatasetReport, charts: list[Chart]) -> str:
    totals, config = report.status.totals, report.status.info.config
    counts = [(f"videos {word}", number(count)) for word, count in totals.videos.items() if count or word == "ok"]
    facts = [
        ("videos", number(sum(totals.videos.values()))),
        *counts,
        ("hours of video", f"{totals.hours:,.2f}"),
        ("samples", number(totals.num_samples)),
        ("segments to do", f"{number(totals.num_pending)} of {number(totals.num_segments)}"),
        ("video files", size(report.archive.source_bytes)),
        (f"of features in {number(report.num_files)} files", size(report.stored_bytes)),
    ]
    made = (
        f"{config.model.name} ({config.model.dim} values, {config.precision}, stored as {config.dtype}), "
        f"sampled {config.sample}, fingerprint {config.fingerprint}"
    )
    sides: list[list[Cell]] = [
        [name, side.num_rows, side.num_files] for name, side in report.status.side_tables.items()
    ]
    beside = table(["Table", "Rows", "Files"], sides, caption="Tables beside the features") if sides else ""
    return f"""<section>
<h2>{escape(config.model.name)}</h2>
<p class="quiet">{escape(made)}</p>
{tiles(facts)}
{beside}
{_archive(report.archive)}
{_streams(report.coverage, charts)}
<h2>Runs</h2>
{"".join(_run(run, charts) for run in report.runs) or "<p>No run has left a report.</p>"}
</section>"""


def _archive(archive: ArchiveFigures) -> str:
    cards = "".join(_hours(split, archive.hours_by[split]) for split in _SPLITS if archive.hours_by[split])
    rows: list[list[Cell]] = [
        [each.reason, each.count, _where(each.segment, each.start_s, each.end_s), path(each.uri), each.detail]
        for each in archive.failures
    ]
    heads = ["Reason", "How many", "What of it", "The first", "Why"]
    failed = (
        table(heads, rows, caption="What failed, the first of each reason", text_from=3)
        if rows
        else "<p>Nothing failed.</p>"
    )
    hours = f'<h2>Hours of video</h2><div class="cards">{cards}</div>' if cards else ""
    return f"{hours}<h2>What failed</h2>{failed}"


def _hours(split: str, hours: dict[str, float]) -> str:
    total = sum(hours.values())
    rows: list[list[Cell]] = [
        [kind, Markup(html=f"{num:,.3f}"), meter(num / total, label=f"share of {kind}")] for kind, num in hours.items()
    ]
    return table([_SPLITS[split], "Hours", "Share"], rows, caption=f"By {_SPLITS[split].lower()}")


def _streams(coverage: Sequence[Coverage], charts: list[Chart]) -> str:
    each = "".join(_stream(stream, charts) for stream in coverage)
    return f"<h2>Streams</h2>{each}" if each else ""


def _stream(stream: Coverage, charts: list[Chart]) -> str:
    stretches = range(len(stream.with_rows))
    series = [("with rows", stream.with_rows), ("nothing moved", stream.gated), ("missing", stream.missing)]
    chart = Chart(xs=[at * stream.stretch_s for at in stretches], series=series, x_label="since the first frame")
    label = f"The share of the samples of {stream.stream} that is there, over time"
    mean = sum(stream.with_rows) / max(1, len(stretches))
    when = f"From {moment(stream.captured_from)} to {moment(stream.captured_to)}"
    gated = sum(stream.gated) / max(1, len(stretches))
    return f"""<article class="card">
<h3>{escape(stream.stream)}</h3>
<p>{when}: {percent(mean)} of its samples are there, {percent(gated)} were not wanted, for nothing moved.</p>
{_drawn(chart, charts, label=label)}
</article>"""


def _where(segment: int | None, start_s: float | None, end_s: float | None) -> str:
    if segment is None:
        return "whole video"
    span = "" if start_s is None or end_s is None else f", {duration(start_s)} to {duration(end_s)}"
    return f"segment {segment}{span}"


def _run(run: RunFigures, charts: list[Chart]) -> str:
    chart = ""
    if len(run.rates) > 1:
        label = f"Samples a second of each stage over the {duration(run.seconds)} of the run"
        series = [
            ("decoded/s", [rate.decode for rate in run.rates]),
            ("model/s", [rate.embed for rate in run.rates]),
            ("written/s", [rate.commit for rate in run.rates]),
        ]
        xs = [rate.at_s for rate in run.rates]
        chart = _drawn(Chart(xs=xs, series=series, x_label="since the command"), charts, label=label)
    error = f"<p><strong>It ended with:</strong> {escape(run.error)}</p>" if run.error else ""
    killed = "<p>It was killed, or its store went away: it wrote nothing more.</p>" if run.state == "killed" else ""
    return f"""<article class="card run">
<h3>{escape(run.command)} at {escape(moment(run.began))} {shown(state(run.state))}</h3>
{error}{killed}{_held_up(run)}
{tiles(_facts(run))}
{_stages(run.stages) if run.stages else ""}
{chart}
</article>"""


def _facts(run: RunFigures) -> list[tuple[str, str]]:
    hardware = run.hardware or {}
    facts = [
        ("in all", duration(run.seconds)),
        ("samples", number(run.num_samples)),
        ("of video", duration(run.video_s)),
        ("written", size(run.num_bytes)),
    ]
    if run.samples_per_s is not None:
        facts.append(("samples/s while at work", number(run.samples_per_s)))
    if run.share_of_ceiling is not None and run.ceiling_per_s is not None:
        facts.append((f"of the model's {number(run.ceiling_per_s)}/s", percent(run.share_of_ceiling)))
    if hardware:
        facts.append(
            ("CPUs, GPUs, nodes", ", ".join(str(hardware.get(name)) for name in ("num_cpus", "num_gpus", "num_nodes")))
        )
    return facts


def _held_up(run: RunFigures) -> str:
    if run.bottleneck is None:
        return ""
    what = "the model" if run.bottleneck == "model" else "decoding"
    marks = ", ".join(
        f"{name} after {shown(seconds)} s" for name, seconds in run.marks_s.items() if isinstance(seconds, int | float)
    )
    return f'<p>The bottleneck was <strong>{what}</strong>.</p><p class="quiet">Reached: {marks}.</p>'


def _stages(stages: Sequence[StageFigures]) -> str:
    rows: list[list[Cell]] = [
        [
            _STAGES[each.name],
            each.num_workers,
            "" if each.utilisation is None else meter(each.utilisation, label=f"{_STAGES[each.name]} busy"),
            duration(each.busy_s),
            each.num_samples,
            size(each.private_bytes) if each.private_bytes else "",
        ]
        for each in stages
    ]
    heads = ["Stage", "Workers", "Busy", "Work in all", "Samples", "Private memory"]
    return table(heads, rows, caption="What each stage did, and the most memory that one of its workers had for itself")
