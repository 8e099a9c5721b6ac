"""The commands about datasets that are there, and about models: ``status``, ``compact``, ``diff``, ``models``."""

import json
from dataclasses import asdict

import click

from pipeline.cli.exit_status import FAILED
from pipeline.cli.options import CONFIG, JSON
from pipeline.extract.progress import Display
from pipeline.records.resources import parse_size


@click.command()
@click.argument("uri")
@JSON
def status(*, uri: str, is_json: bool) -> int:
    """What is in the dataset at URI: done, partial, quarantined, rows, configuration.

    Of a folder with the datasets of several models, what is in each.
    """
    from pipeline.cli.summary import describe_folder, describe_status
    from pipeline.lake.tables import Status, read_statuses

    found = read_statuses(uri)
    if is_json:
        click.echo(json.dumps({"uri": uri, **found.to_json()}))
    else:
        click.echo(describe_status(uri, found) if isinstance(found, Status) else describe_folder(uri, found))
    return 0


@click.command()
@click.argument("uri")
@click.option("--out", required=True, metavar="NEW", help="The folder of the new dataset.")
@click.option("--file-size", default="256MiB", show_default=True, metavar="BYTES", help="Of a features file, about.")
@JSON
@CONFIG
def compact(*, uri: str, out: str, file_size: str, is_json: bool) -> int:
    """Write the dataset at URI anew in large files, sorted by video; the old one is left as it is.

    What is settled when the command starts is what NEW gets; run again, it adds what came since. While it runs, NEW
    takes up to twice the space.
    """
    file_bytes = parse_size(file_size)
    from pipeline.cli.summary import describe_compacted
    from pipeline.lake.compaction.compact import run_compact

    done = run_compact(uri, out, file_bytes=file_bytes, say=Display(is_quiet=is_json).say)
    click.echo(json.dumps(asdict(done)) if is_json else describe_compacted(done))
    return 0


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--at-least", type=click.FloatRange(-1, 1), metavar="COSINE", help="1 where a cosine is below.")
@click.option("--at-most", type=click.FloatRange(0), metavar="DIFF", help="1 where two values differ by more.")
@JSON
@CONFIG
def diff(*, a: str, b: str, at_least: float | None, at_most: float | None, is_json: bool) -> int:
    """Compare the features of the datasets at A and B, video by video.

    Leaves with 1 where rows stand in one of them alone, or a bar does not hold.
    """
    from pipeline.cli.summary import compared_video, describe_diff
    from pipeline.lake.comparison.diff import Diff, complaints

    found = Diff(a, b)
    if is_json:  # an entry at a time, for an archive has many
        click.echo('{"videos": [', nl=False)
        for at, video in enumerate(found.videos()):
            click.echo((", " if at else "") + json.dumps(video.to_json()), nl=False)
    else:
        for video in found.videos():
            click.echo(compared_video(video))
    said = complaints(found.total, at_least=at_least, at_most=at_most)
    if is_json:
        configuration = {name: {"a": mine, "b": theirs} for name, (mine, theirs) in found.configuration.items()}
        document = {"a": a, "b": b, **found.total.to_json(), "configuration": configuration, "complaints": said}
        click.echo(f"], {json.dumps(document)[1:]}")
    else:
        click.echo(describe_diff(found, said))
    return FAILED if said else 0


@click.command()
@JSON
def models(*, is_json: bool) -> int:
    """The names that --model knows, the length of their features, and what their default weights are."""
    from pipeline.models.registry import list_models

    if is_json:
        click.echo(json.dumps([asdict(entry) for entry in list_models()]))
    else:
        for entry in list_models():  # takes seconds: each line as soon as it is known
            click.echo(f"{entry.name:<28} {entry.dim or '':>5}  {entry.weights}")
    return 0
