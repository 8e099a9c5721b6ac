"""Still pictures, decoded in a process that may die, as videos are."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pipeline.media.process.dialogue import Dialogue, Pixels
from pipeline.media.process.messages import Draw, Drawn, Event, Failed, StorageFailed
from pipeline.media.process.wire import Nonsense
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.storage.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """Of an upright picture of ``whole_px`` (height, width), the part that holds what was to be kept of it."""

    pixels: Pixels
    """Valid until the next picture is asked for."""
    whole_px: tuple[int, int]


class StillSandbox:
    """One decoder process for JPEG, PNG, WebP and BMP; it loads Pillow and not FFmpeg.

    Started on first use and again after it died. Used by one thread at a time.
    """

    def __init__(self, limits: DecodeLimits, *, entry: str = "pipeline.media.process.still_work:serve") -> None:
        self._limits = limits
        self._dialogue = Dialogue(limits, entry=entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the living decoder process, if any."""
        return self._dialogue.pid

    def start(self) -> None:
        """Start the process before the first picture comes.

        Raises:
            RunError: it does not start.
        """
        self._dialogue.start()

    def decode(self, reader: Reader, *, preprocessings: tuple[Preprocessing, ...] = ()) -> Still:
        """Decode the first picture of a file; with ``preprocessings``, only what they keep of it comes.

        Raises:
            TooLarge: it has more pixels than the limits allow; nothing was decoded.
            InputError: it does not decode, or the decoder crashed, hung or used up its memory over it.
            RunError: no decoder process starts.
        """
        request = Draw(size_bytes=reader.size_bytes, max_pixels=self._limits.max_pixels, preprocessings=preprocessings)
        conversation = _AboutStill(self._limits.timeout_for(0))
        for event, pixels in self._dialogue.ask(reader, request, conversation, uri=reader.uri):
            if isinstance(event, Drawn) and pixels is not None:
                return Still(pixels=pixels, whole_px=event.whole_px)
        raise AssertionError("a conversation about a still ends with a picture")

    def close(self) -> None:
        """Stop the process."""
        self._dialogue.close()


class _AboutStill:
    """A request to draw has one answer."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.is_over = False

    def hear(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            Nonsense: it has no place here.
        """
        if not isinstance(event, Drawn | Failed | StorageFailed):
            raise Nonsense(f"{type(event).__name__} has no place here")
        self.is_over = True
