"""The metrics of a replica, which Ray's own Prometheus exporter shows."""

from ray.util.metrics import Counter, Gauge, Histogram

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
