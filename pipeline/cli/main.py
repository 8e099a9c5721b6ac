"""The command line: words in, exit status out."""

import os
import sys
from importlib.metadata import entry_points

import click
import stamina

from pipeline import __version__
from pipeline.cli.dataset_commands import compact, diff, models, status
from pipeline.cli.event_commands import events
from pipeline.cli.exit_status import StopSignals, exit_status_of
from pipeline.cli.finetune_command import finetune
from pipeline.cli.head_commands import evaluate, heads, train
from pipeline.cli.job_commands import bench, extract, plan, retry, submit
from pipeline.cli.predict_command import predict
from pipeline.cli.recording_commands import fill, verify
from pipeline.cli.report_command import report
from pipeline.cli.search_command import index, search
from pipeline.cli.shots_command import shots
from pipeline.cli.watch_command import watch

_PLUGINS = "vidlake.commands"


def main() -> None:
    """Run ``vidlake`` and leave with its exit status."""
    signals = StopSignals()
    signals.handle()
    stamina.instrumentation.set_on_retry_hooks([])  # it would log each attempt to stderr
    status = exit_status_of(lambda: cli(standalone_mode=False), signals) or exit_status_of(sys.stdout.flush, signals)
    sys.stderr.flush()
    # What is to be given back has been given back; Ray's own leave-taking at exit may take longer than a user waits.
    os._exit(status)


class _Commands(click.Group):
    """Ours, and those that other packages bring under the entry points ``vidlake.commands``: ``serve``, of the server.

    They are imported when they are asked for; the batch side knows nothing of them.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=_PLUGINS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        brought = () if own else entry_points(group=_PLUGINS, name=cmd_name)
        for entry in brought:
            command: click.Command = entry.load()
            return command
        return own


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vidlake")
def cli() -> None:
    """Video archives become a Parquet lake of CNN features."""


for command in (
    extract,
    plan,
    bench,
    retry,
    submit,
    status,
    compact,
    diff,
    models,
    train,
    evaluate,
    predict,
    heads,
    finetune,
    shots,
    fill,
    verify,
    events,
    report,
    watch,
    search,
    index,
):
    cli.add_command(command)
