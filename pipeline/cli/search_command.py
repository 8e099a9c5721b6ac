"""The commands ``search`` and ``index``."""

import json
from pathlib import Path
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
    head: str | None
    where: str | None
    since: str | None
    until: str | None
    top: int
    by_rows: bool
    exact: bool
    no_cache: bool
    thumbnails: str | None
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
@click.option("--head", metavar="HEADS/NAME", help="A trained head: --words then means its labels.")
@click.option("--where", metavar="SQL", help="A condition over the table videos, such as \"camera = 'cam2'\".")
@click.option("--since", metavar="T", help=f"What was captured from then on: {TIMES_HELP}.")
@click.option("--until", metavar="T", help="What was captured before then.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, metavar="N", help="How many.")
@click.option("--rows", "by_rows", is_flag=True, help="Rows, and not moments.")
@click.option("--exact", is_flag=True, help="Compare with every row, even where there is an index.")
@click.option("--no-cache", is_flag=True, help="Read Parquet for this search, and keep no unpacked copy.")
@click.option("--thumbnails", metavar="FOLDER", help="A JPEG of each of them, in this folder.")
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
    if words["head"] is not None and words["words"] is None:
        raise UsageError("--head says whose labels --words means: give --words too")
    require_words(LAKE=words["lake"], head=words["head"], thumbnails=words["thumbnails"], **given)
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
    if words["thumbnails"] is not None:
        from pipeline.explore.found_pictures import write_pictures

        write_pictures(answer, words["lake"], Path(words["thumbnails"]), say=lambda line: click.echo(line, err=True))
    click.echo(json.dumps(answer.to_json()) if is_json else describe_answer(answer))
    return 0


@click.command()
@click.argument("lake")
@JSON
def index(*, lake: str, is_json: bool) -> int:
    """Make or bring up to date the index of LAKE, which `vidlake search` and the server use from then on.

    It prints what share of the ten best rows the index finds, measured against the exact search. Rows that come later
    are compared one by one until the next `vidlake index`; what is killed goes on where it was.
    """
    require_words(LAKE=lake)
    from pipeline.cli.found import describe_built
    from pipeline.explore.searcher import Searcher

    built = Searcher.at(lake).build_index(lambda line: click.echo(line, err=True))
    click.echo(json.dumps(built.to_json()) if is_json else describe_built(built))
    return 0


def _query(words: SearchWords, searcher: "Searcher") -> "Query":
    from pipeline.explore.queries import LabelQuery, SampleQuery

    if words["at"] is not None:
        return SampleQuery.parse(words["at"])
    from pipeline.explore.labels import labels_of

    if words["head"] is not None:
        from pipeline.explore.head_labels import head_labels_at

        head = head_labels_at(words["head"], lake=words["lake"])
        return LabelQuery(scorer=head, columns=labels_of(str(words["words"]), head.labels, whose=f"head {head.name}"))
    from pipeline.explore.query_model import QueryModel
    from pipeline.lake.trust import trusted

    info = trusted(searcher.info, uri=searcher.uri, model=words["model"], weights=words["weights"])
    if words["words"] is not None:
        return QueryModel(info).words(words["words"])
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
