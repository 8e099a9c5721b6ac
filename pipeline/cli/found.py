"""What a search found, in words."""

from pipeline.explore.answers import Answer, Moment, Row, Stretch, iso_time
from pipeline.explore.index.lake_index import Built


def describe_answer(answer: Answer) -> str:
    """The moments or rows, a line each, and how much of the lake was looked at."""
    found = answer.moments if answer.rows is None else answer.rows
    lines = [_line(each) for each in found] or ["nothing was found"]
    counts = [f"{answer.num_scanned} rows compared"]
    if answer.num_indexed:
        counts.insert(0, f"{answer.num_indexed} rows looked up by the index")
    if answer.num_absent:
        counts.append(f"{answer.num_absent} absent by quarantine or gaps")
    if answer.labels:
        lines.insert(0, f"{'label' if len(answer.labels) == 1 else 'labels'}: {'; '.join(answer.labels)}")
    return "\n".join([*lines, ", ".join(counts)])


def describe_built(built: Built) -> str:
    """What ``vidlake index`` did."""
    found = built.measured
    return "\n".join(
        [
            f"{built.num_rows} rows indexed in {built.num_groups} groups, {built.num_new_groups} of them made now, "
            f"{built.num_bytes / 1e6:.1f} MB in {built.folder}",
            f"recall@10 {found.recall:.4f} against the exact search, by {found.num_queries} rows of the lake "
            f"({found.num_probes} lists looked through, {found.num_exact} rows of them exactly)",
        ]
    )


def _line(each: Moment | Row) -> str:
    row = each if isinstance(each, Row) else each.best
    time = f"{row.time_s:.2f} s"
    if isinstance(each, Moment):
        time = f"{clock(each.start_s)} - {clock(each.end_s)}, best at {clock(row.time_s)}"
    parts = [f"{row.score:.4f}", row.uri, time]
    if isinstance(each, Stretch):
        parts.append(f"{each.matched_s:.1f} s from {clock(each.offset_s)} of the query")
    if row.is_same_picture:
        parts.append("the same picture")
    captured = iso_time(row.captured_s)
    return "  ".join([*parts, *([captured] if captured else [])])


def clock(seconds: float) -> str:
    """``1:02:03.5``: hours where there are any, minutes, seconds."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"
