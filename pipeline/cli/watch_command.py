"""The command ``watch``."""

import signal
import sys
from typing import Unpack

import click

from pipeline.cli.exit_status import INTERRUPTED, TERMINATED, complain
from pipeline.cli.options import CONFIG
from pipeline.cli.watch_words import WATCH, WatchWords, watch_request_of
from pipeline.cluster.terminal import own_terminal
from pipeline.records.extras import require_extra


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@WATCH
@click.option("--json", "is_json", is_flag=True, help="A JSON line an event on stdout, nothing else there.")
@CONFIG
def watch(*, is_json: bool, **words: Unpack[WatchWords]) -> int:
    """Watch live streams: what comes in becomes rows of LAKE by the model of the archive, and events.

    SOURCE is rtsp://, rtsps://, http:// or https:// (HLS, MPEG-TS, MJPEG), or file:PATH, which is played at its own
    pace. A camera's user and password stand in VIDLAKE_STREAM_<NAME>_USER and VIDLAKE_STREAM_<NAME>_PASSWORD.

    It goes on until Ctrl-C, comes back when a camera does, and tells of each slot without a row why.
    """
    request = watch_request_of(words)
    require_extra("cameras", command="watch")
    from pipeline.cli.watch_display import WatchDisplay
    from pipeline.cli.watching import run_watch  # Ray takes seconds

    is_plain = is_json or request.events == "-"
    display = WatchDisplay(sys.stdout, is_json=is_plain)
    with own_terminal(is_json=is_plain):
        number = run_watch(request, display)
    if number == signal.SIGTERM:
        return complain("terminated; what came in is committed", TERMINATED)
    if number is not None:
        return complain("interrupted; what came in is committed", INTERRUPTED)
    return 0
