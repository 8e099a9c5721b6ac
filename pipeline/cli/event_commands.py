"""The command about what happened before cameras: ``events``."""

import json
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pipeline.cli.options import CONFIG
from pipeline.errors import UsageError
from pipeline.records.geometry import Line, Zone
from pipeline.records.periods import TIMES_HELP, Period

if TYPE_CHECKING:
    from pipeline.cameras.rules.past import Question


class EventWords(TypedDict):
    """What the words of ``events`` parse to, but for LAKE and ``--json``."""

    lines: tuple[str, ...]
    zones: tuple[str, ...]
    head: str | None
    stream: str | None
    since: str | None
    until: str | None


def question_of(words: EventWords) -> "Question":
    """What is asked of the lake.

    Raises:
        UsageError: one of the words does not parse.
    """
    from pipeline.cameras.rules.past import Question
    from pipeline.models.heads.registry import HeadAddress

    lines, zones = tuple(map(Line.parse, words["lines"])), tuple(map(Zone.parse, words["zones"]))
    names = [*(line.name for line in lines), *(zone.name for zone in zones)]
    if len(set(names)) < len(names):
        raise UsageError("two lines or zones have the same name: their events could not be told apart")
    head = words["head"]
    since, until = (None if text is None else str(text) for text in (words["since"], words["until"]))
    return Question(
        lines=lines,
        zones=zones,
        head=None if head is None else HeadAddress.parse(head),
        stream=words["stream"],
        period=Period.parse(since, until),
    )


@click.command()
@click.argument("lake")
@click.option("--line", "lines", multiple=True, metavar="NAME:x1,y1,x2,y2", help="Who would have crossed it.")
@click.option("--zone", "zones", multiple=True, metavar="NAME:x,y,x,y,x,y...", help="Who would have been in it.")
@click.option("--head", metavar="HEADS/NAME[@VERSION]", help="When its label would have changed.")
@click.option("--stream", metavar="NAME", help="Only this stream's.  [all]")
@click.option("--since", metavar="T", help=f"What was captured from then on: {TIMES_HELP}.")
@click.option("--until", metavar="T", help="What was captured before then.")
@click.option("--json", "is_json", is_flag=True, help="A JSON document a line, and nothing else there.")
@CONFIG
def events(lake: str, *, is_json: bool, **words: Unpack[EventWords]) -> int:
    """Apply lines, zones or a head to what streams have stored in LAKE: an event a line. Without any, what was told.

    Lines and zones go by the stored tracks, to the frame as they would have live; a head goes by the stored features.
    Nothing is written.
    """
    question = question_of(words)
    from pipeline.cameras.rules.past import past_events
    from pipeline.cli.watch_display import described

    for event in past_events(lake, question):
        line = f"{event.captured_at.astimezone():%Y-%m-%d} {described(event)}"
        click.echo(json.dumps(event.to_json(), ensure_ascii=False) if is_json else line)
    return 0
