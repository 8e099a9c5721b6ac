"""The commands about recordings of streams: ``fill`` and ``verify``."""

import json
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pipeline.cli.exit_status import FAILED
from pipeline.cli.options import CONFIG, JSON, options

if TYPE_CHECKING:
    from pipeline.cameras.recordings.fill import Filling
    from pipeline.cameras.recordings.verify import Verdict
    from pipeline.lake.dataset import DatasetInfo

_LAKE = options(
    click.argument("lake"),
    click.option("--stream", metavar="NAME", help="Only this stream's.  [all]"),
    click.option("--model", metavar="NAME", help="The lake's own, where it is code of yours: module:factory."),
    click.option("--weights", metavar="W", help="Where the lake's weights are, if they are a file or an address."),
)


class LakeWords(TypedDict):
    """What ``_LAKE`` parses to."""

    lake: str
    stream: str | None
    model: str | None
    weights: str | None


@click.command()
@_LAKE
@click.option("--gated", is_flag=True, help="Also what the motion gate held back.")
@JSON
@CONFIG
def fill(*, is_json: bool, gated: bool, **words: Unpack[LakeWords]) -> int:
    """Make rows of the slots that were dropped and are recorded, by the batch road.

    Streams may go on meanwhile; closed recordings alone are read. Killed, it goes on where it was when it is run again.
    """
    info = _info_of(words)
    from pipeline.cameras.recordings.fill import fill as run_fill

    filling = run_fill(words["lake"], info, stream=words["stream"], is_gated=gated)
    click.echo(json.dumps(filling.to_json()) if is_json else _describe_filling(filling))
    return 0


@click.command()
@_LAKE
@JSON
@CONFIG
def verify(*, is_json: bool, **words: Unpack[LakeWords]) -> int:
    """Hold each live row against the row that the batch road makes of the recording.

    Leaves with 1 where one differs by more than 1e-5 (fp32), where a recording lacks its frame, or where no row is
    recorded at all. Rows whose recording has expired are counted.
    """
    info = _info_of(words)
    from pipeline.cameras.recordings.verify import verify as run_verify

    verdict = run_verify(words["lake"], info, stream=words["stream"])
    click.echo(json.dumps(verdict.to_json()) if is_json else _describe_verdict(verdict))
    return 0 if verdict.holds else FAILED


def _info_of(words: LakeWords) -> "DatasetInfo":
    """What the lake says of itself, trusted.

    Raises:
        UsageError: there is no lake, or it names a model that the command line must repeat.
    """
    from pipeline.lake.dataset import Dataset
    from pipeline.lake.trust import trusted

    dataset = Dataset.at(words["lake"])
    return trusted(dataset.existing(), uri=dataset.store.uri, model=words["model"], weights=words["weights"])


def _describe_filling(filling: "Filling") -> str:
    if not filling.num_missing:
        return "nothing to fill"
    lines = [f"filled      {filling.num_filled:,} of {filling.num_missing:,} slots"]
    if filling.num_unrecorded:
        lines.append(f"unrecorded  {filling.num_unrecorded:,}: no closed recording has them")
    if filling.num_failed:
        lines.append(f"failed      {filling.num_failed:,}: their recording does not decode there")
    return "\n".join(lines)


def _describe_verdict(verdict: "Verdict") -> str:
    num_compared = verdict.num_equal + verdict.num_different
    lines = [
        f"rows        {verdict.num_rows:,}",
        f"equal       {verdict.num_equal:,} of {num_compared:,} compared, a difference of {verdict.worst:.1e} at most",
    ]
    counts = [
        ("different", verdict.num_different, "beyond what the precision allows"),
        ("absent", verdict.num_absent, "their recording has no such frame"),
        ("expired", verdict.num_expired, "older than --keep"),
        ("unrecorded", verdict.num_unrecorded, "no closed recording covers them"),
    ]
    lines += [f"{name:<11} {number:,}: {what}" for name, number, what in counts if number]
    lines += [f"            {fault}" for fault in verdict.faults]
    lines.append("the proof holds" if verdict.holds else "the proof does not hold")
    return "\n".join(lines)
