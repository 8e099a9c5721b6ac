"""``vidlake serve``: the application on a Ray of its own, from the first check to the last request."""

import contextlib
import ipaddress
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import ray

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.cluster.start import starting
from pipeline.errors import UsageError
from pipeline.records.resources import Hardware
from serve.settings import Replicas, Settings
from serve.web.listening import Address
from serve.web.security import ApiKeys

_ECHO_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a server can be reached."""

    model: str
    url: str
    metrics_url: str
    logs: str
    needs_key: bool
    has_heads: bool
    has_streams: bool


def run_server(
    settings: Settings,
    *,
    host: str,
    port: int,
    metrics_port: int,
    replicas: str,
    on_ready: Callable[[Listening], None],
    on_stop: Callable[[], None],
) -> None:
    """Serve until SIGINT or SIGTERM, and then finish the requests at work; a second signal stops at once.

    Args:
        settings: all settings but those that depend on this machine.
        host: the address to listen on.
        port: the port to listen on.
        metrics_port: the port of the Prometheus exporter, on every address that Ray listens on; 0: any free one.
        replicas: ``N``, ``MIN-MAX`` or ``auto``.
        on_ready: called once requests are answered.
        on_stop: called when no more requests are taken.

    Raises:
        UsageError: the settings do not fit, or the port is taken.
        RunError: the server does not start.
        KeyboardInterrupt: a signal stopped it at once; its argument is the signal's number.
    """
    Replicas.parse(replicas, num_available=1)
    settings = settings.model_copy(
        update={"access": settings.access.model_copy(update={"is_loopback": is_loopback(host)})}
    )
    keys = ApiKeys.read(settings.access)
    address = Address(host=host, port=port)
    held = _held(address)
    metrics_port = metrics_port or _free_port()
    # Ray starts its workers with nice 15. That suits a batch job, but clients wait for a server.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Of the replica; as its own runtime environment it would keep the replica out of a worker that has started already.
    for name, value in KEEPING_WHAT_IS_FREED.items():
        os.environ.setdefault(name, value)
    stop = StopRequest()
    with stop.seen_through(), held, starting(None, metrics_port=metrics_port) as cluster:
        from serve.app import deployed  # what it imports takes as long as Ray does to start

        settings = _sized(settings, replicas, cluster.hardware())
        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with deployed(settings, address) as server:
            shown = f"[{host}]" if ":" in host else host
            listening = Listening(
                model=settings.model.name,
                url=f"http://{shown}:{port}",
                metrics_url=f"http://127.0.0.1:{metrics_port}/metrics",
                logs=_logs(),
                needs_key=bool(keys),
                has_heads=settings.heads.folder is not None,
                has_streams=settings.cameras.lake is not None,
            )
            on_ready(listening)
            stop.wait()
            on_stop()
            server.finish()


class StopRequest:
    """SIGINT or SIGTERM: the first one asks to stop, a later one raises ``KeyboardInterrupt``."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._is_awaited = False
        self._raised: KeyboardInterrupt | None = None
        self._signalled_at = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A shell and a wrapper between it and us may each pass the same Ctrl-C on.
        is_an_echo = self._event.is_set() and time.monotonic() - self._signalled_at < _ECHO_S
        if not self._is_awaited or (self._event.is_set() and not is_an_echo):
            self._raised = KeyboardInterrupt(number)
            raise self._raised
        if not self._event.is_set():
            self._signalled_at = time.monotonic()
            self._event.set()

    @contextlib.contextmanager
    def seen_through(self) -> Iterator[None]:
        """Raise what a signal raised, where a library in the middle of a call turned it into an error of its own."""
        try:
            yield
        except Exception:
            if self._raised:
                raise self._raised from None
            raise

    def wait(self) -> None:
        """Wait for the first signal. One that comes before this call, while the server starts, raises at once."""
        self._is_awaited = True
        self._event.wait()


def _logs() -> str:
    node: Any = cast(Any, ray)._private.worker._global_node
    return str(Path(node.get_logs_dir_path()) / "serve")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _sized(settings: Settings, replicas: str, hardware: Hardware) -> Settings:
    """Divide the machine's CPUs and GPUs among as many replicas as there may be."""
    num_gpus = hardware.num_gpus
    chosen = Replicas.parse(replicas, num_available=num_gpus)
    num_threads = settings.model.num_threads or max(1, hardware.num_cpus // chosen.max)
    return settings.model_copy(
        update={
            "replicas": chosen,
            "model": settings.model.model_copy(update={"num_threads": num_threads}),
            "num_cpus": min(1.0, math.floor(100 * hardware.num_cpus / chosen.max) / 100),
            "num_gpus": min(1.0, math.floor(100 * num_gpus / chosen.max) / 100),
        }
    )


def _held(address: Address) -> socket.socket:
    """Keep the port for the replica, until it listens and whenever it is started anew."""
    try:
        with socket.socket(address.family) as trial:  # another server of the same user would share it
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((address.host.strip("[]"), address.port))
        return address.bound()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {address.host}:{address.port}: {reason}; give another --host or --port"
        ) from None


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
