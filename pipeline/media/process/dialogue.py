"""Asking a decoder process one thing at a time, and starting another process where one died."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import INPUT_ERRORS, Crashed, StorageError
from pipeline.media.process.decoder_process import DecoderProcess
from pipeline.media.process.messages import (
    Ended,
    Event,
    Failed,
    InMemory,
    Painted,
    Plan,
    Request,
    StorageFailed,
    read_event,
    written,
)
from pipeline.media.process.wire import Nonsense
from pipeline.records.crops import part_of
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.storage.reader import Reader

Pixels = NDArray[np.uint8]
"""RGB ``uint8[h, w, 3]``."""


class Conversation(Protocol):
    """What a request may be answered with."""

    is_over: bool
    """Whether the last answer has come."""

    @property
    def timeout_s(self) -> float:
        """Of the present piece of work."""

    def hear(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            Nonsense: it has no place here.
        """


class Dialogue:
    """One decoder process, started on first use and again after it died; used by one thread at a time."""

    def __init__(self, limits: DecodeLimits, *, entry: str) -> None:
        self._limits = limits
        self._entry = entry
        self._process: DecoderProcess | None = None

    @property
    def pid(self) -> int | None:
        """Of the living decoder process, if any."""
        return None if self._process is None else self._process.pid

    def start(self) -> DecoderProcess:
        """The living process, or a new one.

        Raises:
            RunError: none starts.
        """
        if self._process is None:
            self._process = DecoderProcess(self._entry, self._limits)
        return self._process

    def close(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def ask(
        self, reader: Reader, request: Request, conversation: Conversation, *, uri: str
    ) -> Iterator[tuple[Event, Pixels | None]]:
        """Ask for something to be done with a file, which the process reads through this one.

        Yields:
            The answers, and the picture that one announces, valid until the next is asked for.

        Raises:
            InputError: the file is unusable, or the decoder crashed, hung or used up its memory over it.
            StorageError: the store failed.
            RunError: no decoder process starts.
        """
        process = self.start()
        preprocessings = () if isinstance(request, Plan) else request.preprocessings
        try:
            process.source.serve(reader)
            process.begin_piece()
            process.send(written(request), uri=uri, timeout_s=conversation.timeout_s)
            while not conversation.is_over:
                event = read_event(process.receive(uri=uri, timeout_s=conversation.timeout_s))
                process.source.raise_fault()
                conversation.hear(event)
                if isinstance(event, Failed):
                    raise INPUT_ERRORS[event.reason](uri, event.detail)
                if isinstance(event, StorageFailed):
                    raise StorageError(f"{uri}: the store failed")
                yield event, _pixels(process, event, preprocessings) if isinstance(event, InMemory) else None
                if isinstance(event, Painted) and event.is_last_in_slot:
                    process.send(b"a", uri=uri, timeout_s=conversation.timeout_s)
                elif isinstance(event, Ended):
                    process.begin_piece()
        except Nonsense as error:
            self.close()
            raise Crashed(uri, f"the decoder talked nonsense ({error})") from None
        finally:
            # A decoder whose listener stopped half-way, or that failed in an unforeseen way, is not asked again.
            if not conversation.is_over:
                self.close()
                process.source.raise_fault()


def _pixels(process: DecoderProcess, event: InMemory, preprocessings: tuple[Preprocessing, ...]) -> Pixels:
    """The picture as it lies in the shared memory.

    Raises:
        Nonsense: it cannot lie there, or is another part than was asked for.
    """
    pixels = process.picture(event.shape, event.offset, whole_px=event.whole_px)
    part = part_of(*event.whole_px, preprocessings=preprocessings)
    if pixels.shape[:2] != tuple(along.stop - along.start for along in part):
        raise Nonsense(f"{pixels.shape} of a picture of {event.whole_px}")
    return pixels
