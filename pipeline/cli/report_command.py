"""``vidlake report``: what is in a lake and how its runs went, as one HTML file."""

import json
import os
import secrets
from pathlib import Path

import click

from pipeline.cli.options import JSON
from pipeline.errors import UsageError


@click.command()
@click.argument("lake")
@click.option("--out", metavar="FILE.html", help="Where it is written.  [NAME-report.html in the current folder]")
@JSON
def report(*, lake: str, out: str | None, is_json: bool) -> int:
    """Write what is in LAKE, what failed and how its runs went into one HTML file.

    It opens in a browser from the disk, without a network. With --json and without --out, only the document is printed.
    """
    from pipeline.explore.report.document import read_report
    from pipeline.explore.report.page import html_of

    found = read_report(lake)
    if out is not None or not is_json:
        name = out or f"{found.uri.rstrip('/').rpartition('/')[2] or 'lake'}-report.html"
        _write(Path(name).expanduser(), html_of(found))
        if not is_json:
            click.echo(f"written to {name}: open it in a browser")
    if is_json:
        click.echo(json.dumps(found.to_json()))
    return 0


def _write(path: Path, text: str) -> None:
    """Have the file appear whole."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"--out {path} cannot be written: {error.strerror}") from None
