"""The stream from what is planned to what is committed: wave by wave, while the videos of the next waves are planned.

A thread lists and plans, and offers what there is to decode. Whatever is there by the time that the workers are about
to run out of work becomes a wave, which is one execution of Ray Data: the first is of the first videos alone, and as
planning gets ahead, waves grow, up to what a driver can hold. The next one begins while the last ends, so that the
workers stay busy; the actors that hold the models stay from the first wave to the last.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.context import RunContext
from pipeline.extract.model_actors import ModelActors
from pipeline.extract.progress import Display, Known
from pipeline.extract.sizes import NO_WORK, TASK_S, Work
from pipeline.extract.tasks import group_tables, split_tables, work_of

# A driver holds about this much of what is left to do, however large the archive: planning waits meanwhile.
_SEGMENTS_AT_ONCE = 100_000
_WAVES_AT_ONCE = 2
# So much decoding for each worker is enough for a wave, however large the last one was.
_ENOUGH_S = 60.0
# A driver holds 25 kB for each task of a wave, so a wave has no more of them than this. Many workers get so many each
# that waiting for the last one, where --decode-workers has waves follow one another, is little beside them.
_WAVE_TASKS = 400
_WAVE_TASKS_PER_WORKER = 16
_LOOK_EVERY_S = 0.2

Group = tuple[int, ...]
"""The outputs of a run, by their numbers, that lack the same segments, and of which one decoding pass serves all."""


def _most_in_a_wave(num_workers: int) -> float:
    """The most decoding that a wave has, in CPU seconds."""
    return max(_WAVE_TASKS, _WAVE_TASKS_PER_WORKER * num_workers) * TASK_S


class Stopped(Exception):
    """The run is over: nothing more is taken."""


@dataclass(slots=True, kw_only=True)
class _Offered:
    """What of one group no wave has taken yet."""

    parts: list[pa.Table] = field(default_factory=list)
    work: Work = NO_WORK


def is_due(offered: Work, *, running: Work | None, num_running: int, num_workers: int) -> bool:
    """Whether what has been offered is to become a wave.

    At once where none is running. Beside one that is, only what is at least as much work, or as much as all workers
    have for a minute: so waves double, and few of them serve a large archive.
    """
    if not offered.num_segments or num_running >= _WAVES_AT_ONCE:
        return False
    if running is None or not num_running:
        return True
    return offered.cost_s >= min(running.cost_s, _ENOUGH_S * num_workers)


class Flow:
    """Takes what is offered, and has it decoded, embedded and committed, as ``run`` says.

    ``offer``, ``warm_up`` and ``known`` may be called from another thread than ``run``.
    """

    def __init__(self, context: RunContext, *, display: Display) -> None:
        self._context = context
        self._display = display
        self._changed = threading.Condition()
        self._offered: dict[Group, _Offered] = {}
        self._so_far: dict[Group, Work] = {}
        self._known, self._num_videos = NO_WORK, 0
        self._running: list[Work] = []
        self._group: Group | None = None
        self._models: ModelActors | None = None
        self._is_planning = True
        self._error: BaseException | None = None

    @property
    def is_hungry(self) -> bool:
        """Whether the workers have nothing to do but what is being planned."""
        with self._changed:
            return not self._offered

    def known(self) -> Known:
        """What is known to be done, so far."""
        with self._changed:
            return Known(work=self._known, num_videos=self._num_videos, is_planning=self._is_planning)

    def warm_up(self, group: Group) -> None:
        """Have the models of a group start, if none are there: they take seconds, in which its videos are planned."""
        with self._changed:
            if self._group is None:
                self._begin(group)

    def offer(self, group: Group, tasks: pa.Table) -> None:
        """Have these segments decoded, ``TASKS`` rows in the order of video and segment; waits while there are many.

        Raises:
            Stopped: the run is over.
        """
        if not len(tasks):
            return
        work = work_of(tasks["segment"])
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._num_offered < _SEGMENTS_AT_ONCE)
            if self._error is not None:
                raise Stopped
            offered = self._offered.setdefault(group, _Offered())
            offered.parts.append(tasks)
            offered.work = offered.work + work
            self._known = self._known + work
            self._num_videos += len(pc.unique(tasks["video_id"]))
            self._changed.notify_all()

    def run(self, plan: Callable[[], None]) -> None:
        """Do all that ``plan``, in a thread of its own, offers.

        Raises:
            RunError: planning or a wave failed.
            RayError: likewise.
        """
        self._start("planning", plan, then=self._end_planning)
        following = self._display.follow(
            self._context.tally, known=self.known, num_actors=self._context.sizes.num_actors
        )
        try:
            with following, self._changed:
                while self._error is None and (self._is_planning or self._offered or self._running):
                    self._start_what_is_due()
                    self._changed.wait(_LOOK_EVERY_S)
                if self._error is not None:
                    raise self._error
        finally:
            with self._changed:
                self._error = self._error or Stopped()
                self._models = None
                self._changed.notify_all()

    @property
    def _num_offered(self) -> int:
        return sum(each.work.num_segments for each in self._offered.values())

    def _end_planning(self) -> None:
        self._is_planning = False

    def _start(self, name: str, do: Callable[[], None], *, then: Callable[[], None]) -> None:
        """Have a thread do it; what it fails with is the run's error, known before ``then`` says that it is over."""

        def watched() -> None:
            error: BaseException | None = None
            try:
                do()
            except Stopped:
                pass
            except BaseException as failure:  # noqa: BLE001  (it is raised where the run is waited for)
                error = failure
            with self._changed:
                self._error = self._error or error
                then()
                self._changed.notify_all()

        threading.Thread(target=watched, name=name, daemon=True).start()

    def _start_what_is_due(self) -> None:
        group = self._next_group()
        if group is None:
            return
        offered, num_workers = self._offered[group], self._context.sizes.decode_workers
        is_capped = self._context.options.decode_workers is not None  # which holds for each wave by itself
        num_running = _WAVES_AT_ONCE if self._running and is_capped else len(self._running)
        running = self._running[-1] if self._running else None
        if not is_due(offered.work, running=running, num_running=num_running, num_workers=num_workers):
            return
        parts, work = self._take(group, cost_s=_most_in_a_wave(num_workers))
        self._begin(group)
        so_far = self._so_far[group] = self._so_far.get(group, NO_WORK) + work
        context = self._context.of_outputs(group).sized_for(work, so_far=so_far)
        if so_far == work:
            self._say(context)
        self._running.append(work)
        self._start("wave", partial(self._do, parts, context, self._models), then=partial(self._running.remove, work))

    def _take(self, group: Group, *, cost_s: float) -> tuple[list[pa.Table], Work]:
        """What was offered first, as much as a wave may have."""
        parts, left = split_tables(self._offered.pop(group).parts, cost_s=cost_s)
        if left:
            self._offered[group] = _Offered(parts=left, work=_work_in(left))
        self._changed.notify_all()
        return parts, _work_in(parts)

    def _next_group(self) -> Group | None:
        """The group at work, as long as it has something; another one only when all waves of that have ended."""
        if self._group in self._offered:
            return self._group
        if not self._offered or self._running:
            return None
        return max(self._offered, key=lambda group: self._offered[group].work.cost_s)

    def _begin(self, group: Group) -> None:
        """Have its models start, and those of another group end."""
        if group == self._group:
            return
        context = self._context.of_outputs(group)
        self._group, self._models = group, None
        self._models = dataflow.start_models(context) if context.has_models else None

    def _do(self, parts: list[pa.Table], context: RunContext, models: ModelActors | None) -> None:
        tasks = group_tables(parts, task_s=context.sizes.task_s)
        parts.clear()
        if models is None:
            dataflow.run_decode(tasks, context=context)
        else:
            dataflow.run_extract(tasks, context=context, models=models)

    def _say(self, context: RunContext) -> None:
        labels, sizes = [output.label for output in context.outputs], context.sizes
        names = ", ".join(labels[:-1]) + (" and " if labels[:-1] else "") + labels[-1]
        whom = f" for {names}" if len(self._context.outputs) > 1 else ""
        beside = f"{sizes.num_actors} model actors" if context.has_models else "and no model"
        self._display.say(f"decoding{whom}: {sizes.decode_workers} decode workers, {beside}")


def _work_in(parts: Iterable[pa.Table]) -> Work:
    return sum((work_of(part["segment"]) for part in parts), NO_WORK)
