"""Pieces of HTML: text that cannot become markup, numbers and times as people read them, tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Markup:
    """HTML that is meant as such: whatever else is shown is escaped."""

    html: str


Cell = str | int | float | Markup | None
_GOOD = frozenset({"ok", "finished"})
_BAD = frozenset({"failed", "killed"})
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))


def shown(value: Cell) -> str:
    """A value as HTML."""
    if isinstance(value, Markup):
        return value.html
    if value is None:
        return "&ndash;"
    return escape(value) if isinstance(value, str) else escape(number(value))


def number(value: float) -> str:
    """A number with commas between thousands."""
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(num_bytes: int) -> str:
    """Bytes in their unit."""
    unit, name = next(((unit, name) for unit, name in _UNITS if num_bytes >= unit), (1, "bytes"))
    return f"{num_bytes / unit:,.1f} {name}" if unit > 1 else f"{num_bytes} bytes"


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(text: str) -> str:
    """A time of ISO 8601 in UTC, to the minute."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def percent(share: float) -> str:
    """A share of one."""
    return f"{100 * share:.0f}%"


def state(word: str) -> Markup:
    """A state, in its colour and as a word."""
    kind = "good" if word in _GOOD else "bad" if word in _BAD else "warn"
    return Markup(html=f'<span class="state {kind}">{escape(word)}</span>')


def path(uri: str) -> Markup:
    """An address."""
    return Markup(html=f'<span class="path">{escape(uri)}</span>')


def meter(share: float, *, label: str) -> Markup:
    """A share of one as a bar with its number."""
    bar = f'<meter value="{share:.4f}" min="0" max="1" aria-label="{escape(label)}"></meter>'
    return Markup(html=f'<span class="share">{bar} {percent(share)}</span>')


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Facts side by side: each its number and what that is."""
    return f'<ul class="tiles">{"".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for name, value in facts)}</ul>'  # noqa: E501


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str, text_from: int = 99) -> str:
    """A table that scrolls by itself where it is wide; columns of numbers stand on the right.

    ``text_from``: the first column of long texts, which may break anywhere.
    """
    is_number = [all(isinstance(row[at], int | float) for row in rows) for at in range(len(heads))]
    kinds = [
        ' class="number"' if numeric else ' class="text"' if at >= text_from else ""
        for at, numeric in enumerate(is_number)
    ]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{shown(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    # A region that scrolls can be reached by keyboard.
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}"><table><caption>{escape(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
