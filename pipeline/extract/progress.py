"""What a user sees while a job runs: a live bar on a terminal, plain lines elsewhere. All on stderr."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pipeline.extract.sizes import Work
from pipeline.extract.tally import Tally, bottleneck

_POLL_S = 1.0
_LINE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a run is known to have to do, so far."""

    work: Work
    num_videos: int
    is_planning: bool
    """Whether more may come."""


class Display:
    """Prints how a run goes; where ``is_quiet``, nothing."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._is_quiet = is_quiet

    def say(self, text: str) -> None:
        """Print a line."""
        if not self._is_quiet:
            self._console.print(text, markup=False)

    @contextlib.contextmanager
    def follow(self, tally: Tally, *, known: Callable[[], Known], num_actors: int) -> Iterator[None]:
        """Show how far decoding and the model have come with what is known by then, while the context is open."""
        stop = threading.Event()
        view = _View(tally, known=known, num_actors=num_actors)
        show = self._show_bar if self._console.is_terminal else self._show_lines
        thread = threading.Thread(target=show, args=(view, stop), daemon=True)
        if not self._is_quiet:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread.is_alive():
                thread.join(timeout=5)

    @contextlib.contextmanager
    def count(self, what: str, *, total: int) -> Iterator[Callable[[int], None]]:
        """Show how many of ``total`` things are done, as the function that this gives is told, while it is open."""
        num_done, began, said = 0, time.monotonic(), time.monotonic()
        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
        is_live = self._console.is_terminal and not self._is_quiet
        with Progress(*columns, console=self._console, transient=True, disable=not is_live) as bar:
            task = bar.add_task("starting", total=max(1, total))

            def add(number: int) -> None:
                nonlocal num_done, said
                num_done += number
                now = time.monotonic()
                rate = num_done / max(1e-9, now - began)
                text = (
                    f"{num_done} of {total} {what}, {rate:.0f}/s, {_clock((total - num_done) / max(rate, 1e-9))} left"
                )
                bar.update(task, completed=num_done, description=text)
                if not is_live and now - said >= _LINE_EVERY_S:
                    said = now
                    self.say(f"{100 * num_done / max(1, total):3.0f}%  {text}")

            yield add

    def _show_bar(self, view: "_View", stop: threading.Event) -> None:
        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            while not stop.wait(_POLL_S):
                share, text = view.look()
                bar.update(task, completed=share, description=text)

    def _show_lines(self, view: "_View", stop: threading.Event) -> None:
        while not stop.wait(_LINE_EVERY_S):
            if view.has_begun:
                share, text = view.look()
                self.say(f"{100 * share:3.0f}%  {text}")


class _View:
    """Turns a run's totals into a line."""

    def __init__(self, tally: Tally, *, known: Callable[[], Known], num_actors: int) -> None:
        self._tally = tally
        self._known = known
        self._num_actors = num_actors
        self._began = time.monotonic()
        self._before = tally.progress()

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to tell: a file of lines gets none that say so."""
        return self._known().num_videos > 0

    def look(self) -> tuple[float, str]:
        """The share of what is known that is done, 0 to 1, and the line."""
        now, known = self._tally.progress(), self._known()
        elapsed_s = time.monotonic() - self._began
        decoded = now.decode.counts - self._before.decode.counts
        embedded = now.embed.counts - self._before.embed.counts
        planned = now.plan.counts - self._before.plan.counts
        # A segment is done when the model is done with it, and half done when it is decoded.
        done = decoded.num_segments + embedded.num_segments
        share = min(1.0, done / max(1, 2 * known.work.num_segments))
        left_s = elapsed_s * (1 - share) / share if share else None
        stage = bottleneck(now, elapsed_s=elapsed_s, num_actors=self._num_actors)
        parts = [
            f"about {share * known.num_videos:.0f} of {known.num_videos} videos",
            *([f"still planning ({planned.num_videos / elapsed_s:.0f} videos/s)"] if known.is_planning else []),
            f"{embedded.num_samples / elapsed_s:.1f} frames/s",
            f"{decoded.video_s / elapsed_s:.1f} x real time",
            *(["starting the model"] if left_s is None else [f"{_clock(left_s)} left"] * (not known.is_planning)),
            *([f"bottleneck: {stage}"] if stage else []),
        ]
        return share, ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
