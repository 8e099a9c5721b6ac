"""Posted pictures, each decoded in a process that may die, as videos are."""

import contextlib
import os
from collections.abc import Iterator
from queue import Empty, LifoQueue

import numpy as np
from typing_extensions import override

from pipeline.errors import Killed, RunError
from pipeline.media.process.still_sandbox import StillSandbox
from pipeline.models.batching import Pictures
from pipeline.models.preprocess import prepare_part
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.storage.reader import Identity, Reader
from serve.settings import Limits

POSTED = "the posted picture"
SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "BMP": b"BM"}


def is_still(head: bytes) -> bool:
    """Whether a body that begins so is a picture, and no video; the first 16 bytes tell."""
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_webp or any(head.startswith(signature) for signature in SIGNATURES.values())


class StillDecoders:
    """As many decoder processes as there are CPUs, each started when all others are at work; for any thread."""

    def __init__(self, limits: Limits, *, preprocessing: Preprocessing) -> None:
        """No process is started before ``start`` or the first picture."""
        self._preprocessing = preprocessing
        decode_limits = DecodeLimits(
            timeout_s=limits.max_seconds, memory_bytes=limits.decode_memory_bytes, max_pixels=limits.max_pixels
        )
        # The one that worked last is taken first: it is warm, and a server that is asked little has one.
        self._free: LifoQueue[StillSandbox] = LifoQueue()
        self._is_closed = False
        for _ in os.sched_getaffinity(0):
            self._free.put(StillSandbox(decode_limits))

    def start(self) -> None:
        """Start a process, so that the first picture does not wait for it.

        Raises:
            RunError: none starts.
        """
        with self._one() as sandbox:
            sandbox.start()

    def prepared(self, data: bytes) -> Pictures:
        """A picture's bytes to the model's input ``uint8[1, H, W, 3]``.

        Raises:
            TooLarge: the header announces more pixels than the limits allow; nothing was decoded.
            InputError: it does not decode, or the decoder died over it.
            RunError: no decoder process starts.
        """
        reader = _PostedBytes(data)
        prepared = np.empty((1, *self._preprocessing.crop_px, 3), np.uint8)
        with self._one() as sandbox:
            try:
                still = sandbox.decode(reader, preprocessings=(self._preprocessing,))
            except Killed:  # by somebody else: not the picture's fault until it happens twice
                still = sandbox.decode(reader, preprocessings=(self._preprocessing,))
            prepare_part(still.pixels, whole_px=still.whole_px, preprocessing=self._preprocessing, into=prepared[0])
        return prepared

    def close(self) -> None:
        """End the processes of the decoders that are free now, and of the others as soon as they are."""
        self._is_closed = True
        sandboxes = []
        with contextlib.suppress(Empty):
            while True:
                sandboxes.append(self._free.get_nowait())
        for sandbox in sandboxes:
            sandbox.close()
            self._free.put(sandbox)  # for a thread that had just passed the check: it closes it again

    @contextlib.contextmanager
    def _one(self) -> Iterator[StillSandbox]:
        """A decoder for this thread alone; waits where all are at work."""
        if self._is_closed:
            raise RunError("the server has stopped")
        sandbox = self._free.get()
        try:
            yield sandbox
        finally:
            self._free.put(sandbox)
            if self._is_closed:
                self.close()


class _PostedBytes(Reader):
    """A body in memory; no store stands behind it that could fail or change."""

    def __init__(self, data: bytes) -> None:
        self.uri = POSTED
        self.size_bytes = len(data)
        self._data = data

    @override
    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    @override
    def _identities(self) -> list[Identity]:
        return []

    @override
    def close(self) -> None:
        pass
