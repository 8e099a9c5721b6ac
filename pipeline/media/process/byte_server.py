"""The parent reads the store for its decoder, which opens nothing itself."""

import threading
import time

from pipeline.media.process import wire
from pipeline.storage.reader import Reader


class ByteServer:
    """Answers a decoder process in a thread of its own, and keeps the store's faults and its waiting apart."""

    def __init__(self, source: wire.Channel) -> None:
        self._source = source
        self._reader: Reader | None = None
        self._fault: BaseException | None = None
        self._busy_s = 0.0
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="vidlake-byte-server", daemon=True)
        self._thread.start()

    def serve(self, reader: Reader) -> None:
        """Answer from now on with the bytes of another object."""
        self._reader, self._fault = reader, None

    def raise_fault(self) -> None:
        """Raise what reading the store raised, whatever FFmpeg made of it."""
        if self._fault is not None:
            raise self._fault

    def busy_s(self) -> float:
        """Seconds spent reading the store so far."""
        since = self._busy_since
        return self._busy_s + (0.0 if since is None else time.monotonic() - since)

    def stop(self) -> None:
        """Wait for the thread, which ends once the child is gone."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                offset, length = wire.requested_bytes(self._source)
                wire.answer_with_bytes(self._source, self._read(offset, length))
        except (wire.HungUp, wire.Nonsense):
            self._source.close()

    def _read(self, offset: int, length: int) -> bytes | None:
        if self._reader is None or self._fault is not None:
            return None
        if offset + length > self._reader.size_bytes:  # what a reader raises there would be taken for the store's fault
            raise wire.Nonsense(f"{length} bytes from {offset} of {self._reader.size_bytes}")
        self._busy_since = time.monotonic()
        try:
            return self._reader.read_at(offset, length)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that asked for the video)
            self._fault = error
            return None
        finally:
            self._busy_s += time.monotonic() - self._busy_since
            self._busy_since = None
