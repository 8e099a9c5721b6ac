"""What a user sees while a job runs: a live bar on a terminal, plain lines elsewhere. All on stderr."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.report import bottleneck

_POLL_S = 1.0
_LINE_EVERY_S = 10.0


class Display:
    """Follows a run's tally until closed. ``is_quiet``: shows nothing."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._is_quiet = is_quiet
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def say(self, text: str) -> None:
        """One line."""
        if not self._is_quiet:
            self._console.print(text, markup=False)

    def follow(self, snapshot: Callable[[], dict[str, Any]], *, total_s: float, num_actors: int) -> "Following":
        """Show decoding progress towards ``total_s`` seconds of video while the returned context is open."""
        return Following(self, snapshot, total_s=total_s, num_actors=num_actors)


class Following:
    """A bar or lines, in a thread of their own."""

    def __init__(
        self, display: Display, snapshot: Callable[[], dict[str, Any]], *, total_s: float, num_actors: int
    ) -> None:
        self._display = display
        self._snapshot = snapshot
        self._total_s = max(total_s, 0.001)
        self._num_actors = num_actors
        self._began = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        if not self._display._is_quiet:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self._display._console, transient=True) as bar:
                task = bar.add_task("starting", total=self._total_s)
                while not self._stop.wait(_POLL_S):
                    self._update(bar, task)
            return
        while not self._stop.wait(_LINE_EVERY_S):
            done_s, text = self._state()
            self._display.say(f"{100 * min(1.0, done_s / self._total_s):3.0f}%  {text}")

    def _update(self, bar: Progress, task: TaskID) -> None:
        done_s, text = self._state()
        bar.update(task, completed=done_s, description=text)

    def _state(self) -> tuple[float, str]:
        snapshot = self._snapshot()
        decode, embed = snapshot.get("decode", {}), snapshot.get("embed", {})
        elapsed = max(time.time() - self._began, 0.001)
        done_s = float(decode.get("video_s", 0.0))
        stage = bottleneck(snapshot, since=self._began, num_actors=self._num_actors)
        parts = [
            f"{decode.get('num_segments', 0):.0f} segments",
            f"{embed.get('num_samples', 0) / elapsed:.1f} frames/s",
            f"{done_s / elapsed:.1f} x real time",
        ]
        return done_s, ", ".join(parts) + (f", bottleneck: {stage}" if stage else "")
