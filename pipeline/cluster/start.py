"""Starting or joining a Ray cluster, and what it has to give."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import psutil
import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError, RayTaskError

from pipeline.cluster.ray_internals import InstalledPackages, show_the_command_line
from pipeline.errors import PipelineError, RunError, UsageError
from pipeline.records.resources import Hardware

_LOCAL_STARTS = 2
_IDLE_WORKERS_STAY_MS = 30_000
_REACHED_WITHIN_S = 10.0
_GROWN_WITHIN_S = 1200.0
_GROWTH_POLL_S = 1.0
_RAYS_ADVICE = "Failed to apply UDF transform"
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_INIT_PID = 1
_RAYS_PROGRAMS = str(Path(ray.__file__).parent)


class _Node(TypedDict):
    """Of what Ray tells of a node, what is asked for here."""

    Alive: bool
    Resources: dict[str, float]


class Starting:
    """A cluster that is being started or joined, in the background: it takes seconds that others can use."""

    def __init__(self, address: str | None, *, metrics_port: int | None) -> None:
        self._address = address
        self._metrics_port = metrics_port
        self._error: RunError | None = None
        self._others = frozenset(psutil.Process().children())
        self._is_up = threading.Event()
        self._is_over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def hardware(
        self, *, min_cpus: int = 0, min_gpus: int = 0, say: Callable[[str], None] = lambda _: None
    ) -> Hardware:
        """What the cluster has to give, once it is up and has grown to this size, as ``say`` is told.

        Raises:
            UsageError: there is no such cluster.
            RunError: the machine cannot start one, or the cluster does not grow.
        """
        self._is_up.wait()
        if self._error is not None:
            raise self._error
        wanted = {"CPU": min_cpus, "GPU": min_gpus}
        if not _has(wanted):
            say(f"waiting for the cluster to grow to {_told(wanted)}; it has {_told(_resources())}")
            _grow(wanted)
        total = _resources()
        if not total.get("CPU"):
            say("the cluster has no CPU yet, and the run is sized for one: --min-cpus N has it grow first")
        nodes: list[_Node] = cast(Any, ray).nodes()
        with_cpus = [node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
        return Hardware(
            num_cpus=max(1, int(total.get("CPU", 1))),
            num_gpus=int(total.get("GPU", 0)),
            num_nodes=max(1, len(with_cpus)),
        )

    def stop(self) -> None:
        """Leave it, once nothing in this process uses it any more; a private one ends."""
        self._is_up.wait()
        ray.shutdown()
        self._is_over.set()

    def abandon(self) -> None:
        """Leave it at once, for this process is about to end; a private one is killed.

        Threads may be in the middle of a call of Ray. ``ray.shutdown`` would take it away under them, and this process
        would crash; and where the cluster ends before it, Ray ends it with a status of its own. So one that is up is
        killed when this process is gone.
        """
        is_up = self._is_up.is_set()
        if not is_up:
            self._is_over.set()  # or it would be started once more
        if self._address is None:
            family = _family(child for child in psutil.Process().children() if child not in self._others)
            if is_up:
                _kill_when_this_is_gone(family)
            else:
                _kill(family)

    def _run(self) -> None:
        try:
            _start(self._address, metrics_port=self._metrics_port, is_over=self._is_over)
        except RunError as error:
            self._error = error
        finally:
            self._is_up.set()
        # The kernel ends Ray's processes with the thread that started them (PR_SET_PDEATHSIG): outlive them.
        self._is_over.wait()


@contextlib.contextmanager
def starting(address: str | None, *, metrics_port: int | None = None) -> Iterator[Starting]:
    """Join the cluster at ``address`` (``auto``, ``HOST:PORT``), or run a private one on this machine.

    What its workers raise comes out as itself, and after any exception this process cannot start another one. A private
    one shows its Prometheus metrics at ``metrics_port``.
    """
    cluster = Starting(address, metrics_port=metrics_port)
    try:
        yield cluster
    except (RayError, RuntimeError, SystemError) as error:
        cluster.abandon()
        raise cause_of(error) from None
    except BaseException:
        cluster.abandon()
        raise
    cluster.stop()


def _family(children: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run a program of Ray, and all that they have started; what else this process started is not theirs."""
    family = []
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(word.startswith(_RAYS_PROGRAMS) for word in child.cmdline()):
                family += [*child.children(recursive=True), child]
    return family


def _kill(family: Iterable[psutil.Process]) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


_KILLS_AFTERWARDS = """
import os, signal, sys
fds = []
for pid in map(int, sys.argv[1:]):
    try:
        fds.append(os.pidfd_open(pid))
    except OSError:
        pass
print(flush=True)
os.read(0, 1)
for fd in fds:
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except OSError:
        pass
"""
"""Opens processes, says so, and kills them when its standard input ends: with the process that started it."""


def _kill_when_this_is_gone(family: Iterable[psutil.Process]) -> None:
    command = [sys.executable, "-I", "-S", "-c", _KILLS_AFTERWARDS, *(str(process.pid) for process in family)]
    ends, _ = os.pipe()  # the other end is closed by nobody but the kernel, with this process
    started = subprocess.Popen(command, stdin=ends, stdout=subprocess.PIPE, start_new_session=True)
    os.close(ends)
    if started.stdout is not None:
        started.stdout.readline()


def _grow(wanted: dict[str, int]) -> None:
    """Ask the autoscaler, and wait.

    The request is taken back as soon as it is met: it would outlive a driver that is killed, and keep machines that
    cost money. From then on, work keeps them.
    """
    request_resources(bundles=[{name: 1} for name, count in wanted.items() for _ in range(count)])
    deadline = time.monotonic() + _GROWN_WITHIN_S
    try:
        while not _has(wanted):
            if time.monotonic() > deadline:
                raise RunError(
                    f"the cluster has {_told(_resources())} after {_GROWN_WITHIN_S / 60:.0f} min, not {_told(wanted)}: "
                    "`ray status` on its head says why; raise max_workers or ask for less"
                )
            time.sleep(_GROWTH_POLL_S)
    finally:
        request_resources(bundles=[])


def _has(wanted: dict[str, int]) -> bool:
    total = _resources()
    return all(total.get(name, 0) >= count for name, count in wanted.items())


def _resources() -> dict[str, float]:
    total: dict[str, float] = cast(Any, ray).cluster_resources()
    return total


def _told(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{resources.get(name, 0):.0f} {name}s" for name in ("CPU", "GPU"))


def _start(address: str | None, *, metrics_port: int | None, is_over: threading.Event) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is not None:
        if _is_left_behind():
            raise RunError("the job was stopped before it began; submit it again to resume")
        told = _failure_of_reaching(address) or _failure_of_init(address=address)
        if told is not None:
            raise UsageError(f"no Ray cluster at {address!r}: {told}")
        return
    # While all CPUs are busy, Ray ends each worker that has had nothing to do for a second. That is one that plans or
    # commits now and then, and the next one takes a second of CPU to start.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(_IDLE_WORKERS_STAY_MS))
    # Ray gives its own processes 30 s, which a busy machine may not manage the first time.
    for _ in range(_LOCAL_STARTS):
        told = _failure_of_init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            _metrics_export_port=metrics_port,
        )
        if told is None or is_over.is_set():
            return
        ray.shutdown()
    raise RunError(f"a local Ray cluster does not start on this machine: {told}")


def _is_left_behind() -> bool:
    """Whether this is the driver of a job that was stopped as it began: Ray 2.60 then kills the job's shell alone."""
    return _JOB_VARIABLE in os.environ and os.getppid() == _INIT_PID


def _failure_of_reaching(address: str) -> str | None:
    # Ray itself tries for many minutes.
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _failure_of_init(**settings: Any) -> str | None:
    if _JOB_VARIABLE not in os.environ:  # the folder of a job that was submitted is its working dir, and meant
        settings["job_config"] = InstalledPackages()
    show_the_command_line()
    try:
        ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except (Exception, SystemExit) as error:  # noqa: BLE001  Ray raises bare ones where its processes do not come up
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return None


def cause_of(error: BaseException) -> PipelineError:
    """What a worker raised, dug out of what Ray made of it."""
    seen: BaseException | None = error
    while seen is not None:
        # Ray's own error for it is of the same class as well, and its text a traceback.
        if isinstance(seen, PipelineError) and not isinstance(seen, RayTaskError):
            seen.args = tuple(_without_advice(arg) if isinstance(arg, str) else arg for arg in seen.args)
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__ or seen.__context__
    # A task's error is a traceback, which ends with what happened; Ray's own begin with it.
    text = _without_advice(str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    cause = lines[-1] if isinstance(error, RayTaskError) else lines[0]
    return RunError(f"the run failed in Ray: {cause}; run the same command again to resume")


def _without_advice(message: str) -> str:
    # Ray Data 2.60 appends to a message how often it tried, and how to have it try more often.
    return message.partition(_RAYS_ADVICE)[0].rstrip()
