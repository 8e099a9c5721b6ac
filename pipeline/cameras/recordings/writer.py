"""The recordings of one session, as they are written."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from pipeline.cameras.recordings.files import OpenFile, RecordingFiles
from pipeline.cameras.recordings.names import RecordingName
from pipeline.cameras.recordings.places import place_of, remember
from pipeline.errors import RunError
from pipeline.records.streams import Session

_MOST_WAITING_BYTES = 128 << 20
"""What waits for a store that is slow; more is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    data: bytes
    is_first: bool
    start_time_s: float
    end_time_s: float
    is_after_loss: bool


class RecordingWriter:
    """Writes what a puller recorded of one session to files of some minutes, on a thread of its own.

    A file appears whole under its final name (``RecordingName``), in a folder or a bucket. What a killed writer was
    writing to a folder is closed by the next writer of the stream, by ``fill`` or by ``verify``; what it was writing to
    a bucket is gone. A store that fails costs recordings, never the stream: ``error`` says what is wrong.
    """

    def __init__(self, uri: str, session: Session, *, lake: str, keep: timedelta | None = None) -> None:
        """Begin; nothing is asked of the store yet (``RecordingFiles.ensure_writable`` is for the stream's start).

        Args:
            uri: where recordings are kept: a folder, or an address in a bucket.
            session: what is recorded.
            lake: the dataset, which remembers ``uri`` for ``fill`` and ``verify``.
            keep: recordings of the stream that ended longer ago are removed; ``None``: none are.

        Raises:
            UsageError: recordings cannot be kept there.
        """
        self._files = RecordingFiles(uri)
        self._place = place_of(uri, keep=keep)
        self._session = session
        self._lake = lake
        self._pieces: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._is_skipping = False
        self._error: str | None = None
        self._file: _FileOnItsWay | None = None
        self._next_part = 0
        self._thread = threading.Thread(target=self._work, name=f"recording-{session.stream}", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        """What is wrong with the store now, in one line; ``None``: nothing."""
        return self._error

    def write(self, data: bytes, *, is_first: bool, start_time_s: float, end_time_s: float) -> None:
        """Take the next of what was recorded, in its order. Never blocks.

        Args:
            data: whole boxes of a fragmented MP4: with ``is_first`` its header and perhaps fragments behind it;
                otherwise fragments.
            is_first: a new file begins here, with a keyframe.
            start_time_s: of the first frame in ``data``, from the session's first frame.
            end_time_s: where its last frame ends.
        """
        with self._lock:
            was_skipping = self._is_skipping
            is_full = self._waiting_bytes + len(data) > _MOST_WAITING_BYTES
            self._is_skipping = is_full or (was_skipping and not is_first)
            if self._is_skipping:  # a file with a hole would not decode behind it
                self._error = "the store is too slow: recordings are lost"
                return
            self._waiting_bytes += len(data)
        self._pieces.put(
            _Piece(
                data=data,
                is_first=is_first,
                start_time_s=start_time_s,
                end_time_s=end_time_s,
                is_after_loss=was_skipping,
            )
        )

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Finish the last file: its name appears, unless the store does not take it in that time."""
        self._pieces.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        """Write until the writer is closed; a failure of the store costs the file that it meets."""
        self._attempt(self._prepare)
        while (piece := self._pieces.get()) is not None:
            self._attempt(partial(self._take, piece))
            with self._lock:
                self._waiting_bytes -= len(piece.data)
        self._attempt(self._finish)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except RunError as error:
            self._error = " ".join(str(error).split())
            if self._file is not None:
                self._file.content.abandon()
                self._file = None
                self._next_part += 1  # the number stands for what is missing

    def _prepare(self) -> None:
        stream = self._session.stream
        remember(self._lake, stream, self._place)
        self._files.finish_left_over(stream)
        self._expire()

    def _take(self, piece: _Piece) -> None:
        if piece.is_first:
            self._attempt(self._finish)
            self._next_part += piece.is_after_loss
            self._file = self._begun(piece)
        if self._file is not None:
            self._file.content.append(piece.data)
            self._file.end_time_s = max(self._file.end_time_s, piece.end_time_s)

    def _begun(self, piece: _Piece) -> "_FileOnItsWay":
        name = RecordingName(
            stream=self._session.stream,
            session=self._session.video_id,
            part=self._next_part,
            started_at=_whole_ms(self._session.started_at + timedelta(seconds=piece.start_time_s)),
            duration_ms=0,
        )
        self._next_part += 1
        return _FileOnItsWay(
            content=self._files.begin(name), start_time_s=piece.start_time_s, end_time_s=piece.end_time_s
        )

    def _finish(self) -> None:
        if self._file is not None:
            self._file.content.finish(duration_ms=round(1000 * (self._file.end_time_s - self._file.start_time_s)))
            self._file = self._error = None
            self._expire()

    def _expire(self) -> None:
        if self._place.keep is not None:
            self._files.expire(self._session.stream, before=datetime.now(UTC) - self._place.keep)


@dataclass(slots=True, kw_only=True)
class _FileOnItsWay:
    content: OpenFile
    start_time_s: float
    end_time_s: float


def _whole_ms(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
