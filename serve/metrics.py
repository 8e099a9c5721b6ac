"""The metrics of a replica and of the streams, which Ray's own Prometheus exporter shows."""

from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.cameras.hosting.status import StreamStatus
from pipeline.records.streams import StreamState

_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
_PICTURES = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]


class Metrics:
    """One replica's counters."""

    def __init__(self) -> None:
        self._requests = Counter(
            "vidlake_requests", description="Requests answered.", tag_keys=("route", "method", "status")
        )
        self._seconds = Histogram(
            "vidlake_request_seconds",
            description="From a request's first byte to its answer's last.",
            boundaries=_SECONDS,
            tag_keys=("route",),
        )
        self._batches = Histogram(
            "vidlake_batch_pictures", description="Pictures that the model saw at once.", boundaries=_PICTURES
        )
        self._queue = Gauge("vidlake_queue_requests", description="Requests at work or waiting.")
        self._sockets = Gauge("vidlake_sockets", description="Open WebSockets.")
        self._drops = Counter("vidlake_live_dropped_pictures", description="Pictures that outran the model.")
        self._failures = Counter(
            "vidlake_decode_failures", description="Bodies that did not decode.", tag_keys=("reason",)
        )

    def answered(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.inc(tags={"route": route, "method": method, "status": str(status)})
        self._seconds.observe(seconds, tags={"route": route})

    def batch(self, num_pictures: int) -> None:
        """Note how full a batch was."""
        self._batches.observe(num_pictures)

    def queue(self, num_requests: int) -> None:
        """Show how many requests are at work or waiting."""
        self._queue.set(num_requests)

    def sockets(self, num_open: int) -> None:
        """Show how many WebSockets are open."""
        self._sockets.set(num_open)

    def dropped(self, num_pictures: int) -> None:
        """Count pictures that were dropped because a client outran the model."""
        self._drops.inc(num_pictures)

    def failed(self, reason: str) -> None:
        """Count a body that did not decode."""
        self._failures.inc(tags={"reason": reason})


class StreamMetrics:
    """What Prometheus is told of the streams, by the process that holds them."""

    def __init__(self) -> None:
        self._counters = {
            name: Counter(f"vidlake_stream_{name}", description=description, tag_keys=("stream",))
            for name, description in {
                "pictures": "Frames that were decoded.",
                "samples": "Slots that have become rows.",
                "dropped": "Slots that were dropped because the model was busy.",
                "gated": "Slots without motion, which the model did not see.",
                "gaps": "Slots that stand in the ledger, whatever the reason.",
                "sessions": "Connections that gave pictures.",
                "reconnects": "Attempts to connect after the first one.",
                "events": "Events of all types.",
            }.items()
        }
        self._lag = Gauge(
            "vidlake_stream_lag_seconds", description="From a sample's arrival to its row.", tag_keys=("stream",)
        )
        self._state = Gauge(
            "vidlake_stream_state",
            description="1 for the state that a stream is in, 0 for the others.",
            tag_keys=("stream", "state"),
        )
        self._shown: dict[str, StreamStatus] = {}

    def show(self, statuses: Iterable[StreamStatus]) -> None:
        """Bring all numbers up to date."""
        current = {status.spec.name: status for status in statuses}
        for name, status in current.items():
            self._count(status, before=self._shown.get(name))
            self._lag.set(status.lag_s, tags={"stream": name})
            self._show_state(name, status.state)
        for name in self._shown.keys() - current.keys():
            self._lag.set(0, tags={"stream": name})
            self._show_state(name, None)
        self._shown = current

    def _count(self, status: StreamStatus, *, before: StreamStatus | None) -> None:
        for name, counter in self._counters.items():
            now: int = getattr(status.counters, name)
            shown: int = 0 if before is None else getattr(before.counters, name)
            # A stream that was stopped and started again under its name begins from zero.
            more = now - shown if now >= shown else now
            if more:
                counter.inc(more, tags={"stream": status.spec.name})

    def _show_state(self, name: str, current: StreamState | None) -> None:
        for state in StreamState:
            self._state.set(state == current, tags={"stream": name, "state": str(state)})
