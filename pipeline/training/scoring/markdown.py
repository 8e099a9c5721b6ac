"""What model cards are put together from: sections, tables and labels as Markdown."""

from collections.abc import Iterable, Sequence

from pipeline.training.scoring.metrics import Scores

_MOST_ROWS = 200
"""Of a table: who wants all of a thousand classes reads ``metrics.json``."""


def section(title: str, paragraphs: Iterable[str]) -> list[str]:
    """A heading and what stands under it."""
    return [f"## {title}", *paragraphs]


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of what is what."""
    return "\n".join(f"- {name}: {text}" for name, text in pairs)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, cut short where it is long."""
    lines = [head, ["---"] * len(head), *rows[:_MOST_ROWS]]
    text = "\n".join(f"| {' | '.join(map(plain, line))} |" for line in lines)
    return text + (f"\n\n{len(rows) - _MOST_ROWS} more: see `metrics.json`." if len(rows) > _MOST_ROWS else "")


def per_class(scores: Scores) -> str:
    """The scores of each label."""
    rows = [
        [
            label,
            f"{each.precision:.3f}",
            f"{each.recall:.3f}",
            f"{each.f1:.3f}",
            "-" if each.average_precision is None else f"{each.average_precision:.3f}",
            str(each.units),
        ]
        for label, each in scores.per_class.items()
    ]
    return table(["label", "precision", "recall", "F1", "average precision", "units"], rows)


def listed(labels: Sequence[str]) -> str:
    """Labels in a sentence."""
    return ", ".join(f"`{plain(label)}`" for label in labels[:30]) + (" ..." if len(labels) > 30 else "")


def plain(text: str) -> str:
    """A label in one field of one line, whatever it holds."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
