"""The command ``search``."""

import json
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pipeline.cli.head_words import require_words
from pipeline.cli.options import CONFIG, JSON
from pipeline.errors import UsageError
from pipeline.records.periods import TIMES_HELP, Period

if TYPE_CHECKING:
    from pipeline.explore.queries import Query
    from pipeline.explore.searcher import Searcher


class SearchWords(TypedDict):
    """What the words of ``search`` parse to."""

    lake: str
    picture: str | None
    video: str | None
    at: str | None
    words: str | None
    where: str | None
    since: str | None
    until: str | None
    top: int
    by_rows: bool
    exact: bool
    no_cache: bool
    model: str | None
    weights: str | None


@click.command()
@click.argument("lake")
@click.option(
    "--picture", metavar="FILE", help="What is like this picture; its own row is said to be the same picture."
)
@click.option("--video", metavar="FILE", help="Where this video occurs, or a part of it: from when, and how long.")
@click.option("--at", metavar="URI@SECONDS", help="What is like the sample of a video of the lake nearest to a time.")
@click.option("--words", metavar="TEXT", help="What the model's classification layer, or a head, calls so.")
@click.option("--where", metavar="SQL", help="A condition over the table videos, such as \"camera = 'cam2'\".")
@click.option("--since", metavar="T", help=f"What was captured from then on: {TIMES_HELP}.")
@click.option("--until", metavar="T", help="What was captured before then.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, metavar="N", help="How many.")
@click.option("--rows", "by_rows", is_flag=True, help="Rows, and not moments.")
@click.option("--exact", is_flag=True, help="Compare with every row, even where there is an index.")
@click.option("--no-cache", is_flag=True, help="Read Parquet for this search, and keep no unpacked copy.")
@click.option("--model", metavar="NAME", help="Repeats the dataset's model, where it is not one of vidlake's own.")
@click.option("--weights", metavar="W", help="Repeats the dataset's weights, where they are a file or an address.")
@JSON
@CONFIG
def search(*, is_json: bool, **words: Unpack[SearchWords]) -> int:
    """Find moments in the videos of LAKE: by a picture, a video, a moment of the lake, or words.

    Every row is compared, unless `vidlake index` has made an index; rows that no index covers are compared in any case.
    """
    queries = {"picture": words["picture"], "video": words["video"], "at": words["at"], "words": words["words"]}
    given = {name: word for name, word in queries.items() if word is not None}
    if len(given) != 1:
        raise UsageError("give one query: --picture FILE, --video FILE, --at URI@SECONDS or --words TEXT")
    require_words(LAKE=words["lake"], **given)
    period = Period.parse(words["since"], words["until"])
    from pipeline.cli.found import describe_answer
    from pipeline.explore.queries import Scope
    from pipeline.explore.searcher import Searcher

    searcher = Searcher.at(words["lake"], has_cache=not words["no_cache"])
    scope = Scope(where=words["where"], period=period)
    searcher.check(scope)
    query = _query(words, searcher)
    searcher.unpack(lambda line: click.echo(line, err=True))
    answer = searcher.search(query, scope=scope, top=words["top"], by_rows=words["by_rows"], exact=words["exact"])
    click.echo(json.dumps(answer.to_json()) if is_json else describe_answer(answer))
    return 0


def _query(words: SearchWords, searcher: "Searcher") -> "Query":
    from pipeline.explore.queries import LabelQuery, SampleQuery

    if words["at"] is not None:
        return SampleQuery.parse(words["at"])
    from pipeline.explore.labels import labels_of
    from pipeline.explore.query_model import QueryModel
    from pipeline.lake.trust import trusted

    info = trusted(searcher.info, uri=searcher.uri, model=words["model"], weights=words["weights"])
    if words["words"] is not None:
        model = QueryModel(info)
        columns = labels_of(words["words"], model.labels, whose=f"model {info.config.model.name}")
        return LabelQuery(scorer=model, columns=columns)
    name = "picture" if words["picture"] is not None else "video"
    file = str(words["picture"] or words["video"])
    require_readable(file, option=f"--{name}")
    model = QueryModel(info)
    return model.picture(file) if name == "picture" else model.video(file)


def require_readable(locator: str, *, option: str) -> None:
    """Make sure that a file is there, before a model is loaded for it.

    Raises:
        UsageError: it is not.
    """
    from pipeline.errors import InputError
    from pipeline.storage.schemes import stat

    try:
        stat(locator)
    except InputError as error:
        raise UsageError(f"{option} {error}") from None
