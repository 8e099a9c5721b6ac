"""What ``watch`` shows: a line an event, a live table of the streams on a terminal, and a closing line a stream."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cameras.hosting.status import StreamStatus
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamState

_REFRESH_S = 0.5
_COLOURS = {
    StreamState.CONNECTING: "yellow",
    StreamState.PLAYING: "green",
    StreamState.STALLED: "red",
    StreamState.RECONNECTING: "red",
    StreamState.STOPPED: "dim",
}


class WatchDisplay:
    """Prints events to stdout, and the streams to a terminal on stderr."""

    def __init__(self, stdout: TextIO, *, is_json: bool) -> None:
        """Print to this ``stdout``: a line a JSON document, or a line that a person reads."""
        self._stdout = stdout
        self._is_json = is_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None

    def tell(self, event: Event) -> None:
        """Print an event.

        Raises:
            BrokenPipeError: the reader of our output has gone.
        """
        if self._is_json:
            line = json.dumps(event.to_json(), ensure_ascii=False)
        else:
            line = described(event)
            if self._live is not None and self._stdout.isatty():
                self._live.console.print(line, markup=False)  # above the table, which stays where it is
                return
        self._stdout.write(f"{line}\n")
        self._stdout.flush()

    def say(self, text: str) -> None:
        """Print a line about the run itself."""
        if not self._is_json:
            self._console.print(text, markup=False)

    @contextlib.asynccontextmanager
    async def streams(self, look: Callable[[], Sequence[StreamStatus]]) -> AsyncIterator[None]:
        """Show the streams while the context is open, if there is a terminal."""
        if self._is_json or not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            showing = asyncio.create_task(self._show(live, look))
            try:
                yield
            finally:
                showing.cancel()
                self._live = None

    async def _show(self, live: Live, look: Callable[[], Sequence[StreamStatus]]) -> None:
        while True:
            live.update(table_of(look()), refresh=True)
            await asyncio.sleep(_REFRESH_S)


def described(event: Event) -> str:
    """An event in one line."""
    who = [event.label or "", "" if event.track is None else f"#{event.track}"]
    if event.type is EventType.STREAM_STATE:
        reason = "" if event.value is None else str(event.value.get("reason", ""))
        what = [event.label or "", f"({reason})" if reason else ""]
    else:
        what = [event.type.value, event.name or "", "" if event.direction is None else event.direction.value, *who]
    extra = ""
    if event.type is EventType.ZONE_LEFT and event.value is not None:
        extra = f"after {event.value.get('dwell_s')} s"
    words = [f"{event.captured_at.astimezone():%H:%M:%S.%f}"[:-3], event.stream, *what, extra]
    return "  ".join(word for word in words if word)


def table_of(statuses: Sequence[StreamStatus]) -> Table:
    """The streams, a row each."""
    table = Table(box=None, pad_edge=False)
    for name in ("stream", "state", "pictures", "samples", "dropped", "gated", "reconnects", "lag", "last error"):
        table.add_column(name, justify="left" if name in ("stream", "state", "last error") else "right", no_wrap=True)
    for status in statuses:
        counters = status.counters
        numbers = (counters.pictures, counters.samples, counters.dropped, counters.gated, counters.reconnects)
        table.add_row(
            Text(status.spec.name),
            Text(status.state.value, style=_COLOURS[status.state]),
            *(Text(f"{number}") for number in numbers),
            Text(f"{status.lag_s:.1f} s"),
            Text(status.last_error or "", overflow="ellipsis"),
        )
    return table


def closing_line(status: StreamStatus) -> str:
    """What came of a stream, in one line."""
    counters = status.counters
    others = counters.gaps - counters.dropped - counters.gated
    return (
        f"{status.spec.name}: {counters.samples} samples of {counters.pictures} pictures in {counters.sessions} "
        f"session{'' if counters.sessions == 1 else 's'}; slots without one: {counters.dropped} dropped, "
        f"{counters.gated} gated, {max(0, others)} others; {counters.events} events"
    )
