"""The commands about a dataset that is there, and about models: ``status``, ``compact``, ``models``."""

import json
from dataclasses import asdict

import click

from pipeline.cli.options import CONFIG, JSON
from pipeline.extract.progress import Display
from pipeline.records.resources import parse_size


@click.command()
@click.argument("uri")
@JSON
def status(*, uri: str, is_json: bool) -> int:
    """What is in the dataset at URI: done, partial, quarantined, rows, configuration."""
    from pipeline.cli.summary import describe_status
    from pipeline.lake.tables import read_status

    found = read_status(uri)
    side_tables = {name: asdict(table) for name, table in found.side_tables.items()}
    document = {"uri": uri, **asdict(found.totals), "side_tables": side_tables, "config": found.info.to_json()}
    click.echo(json.dumps(document) if is_json else describe_status(uri, found))
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
@JSON
def models(*, is_json: bool) -> int:
    """The names that --model knows, the length of their features, and what their default weights are."""
    from pipeline.models.registry import list_models

    entries = list(list_models())
    if is_json:
        click.echo(json.dumps([asdict(entry) for entry in entries]))
    else:
        for entry in entries:
            click.echo(f"{entry.name:<28} {entry.dim or '':>5}  {entry.weights}")
    return 0
