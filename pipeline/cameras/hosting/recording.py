"""What is recorded of one session, on its way to the writer: opening and closing files never makes the camera wait."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from pipeline.cameras.hosting.tally import Tally
from pipeline.cameras.pulling.pulled import Recorded
from pipeline.cameras.recordings.writer import RecordingWriter
from pipeline.errors import RunError
from pipeline.records.streams import Session

_MOST_HELD_BYTES = 64 << 20
"""Of what came before the first frame was decoded: a stream that never decodes must not fill the memory."""


class Recording:
    """The recording of a session. All methods belong to the stream's event loop; a writer that fails costs it alone."""

    def __init__(self, uri: str, *, lake: str, keep_s: float | None, tally: Tally) -> None:
        """Hold what comes until the session begins with its first frame."""
        self._uri = uri
        self._lake = lake
        self._keep = None if keep_s is None else timedelta(seconds=keep_s)
        self._tally = tally
        self._held: deque[Recorded] = deque()
        self._num_held_bytes = 0
        self._writer: RecordingWriter | None = None
        self._has_failed = False
        self._opening: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "recording")

    def begin(self, session: Session) -> None:
        """The session's first frame has come: open its files."""
        self._opening = asyncio.ensure_future(self._open(session))

    def write(self, recorded: Recorded) -> None:
        """Take the next part."""
        if self._has_failed:
            return
        if self._writer is None:
            self._held.append(recorded)
            self._num_held_bytes += len(recorded.data)
            if self._num_held_bytes > _MOST_HELD_BYTES:
                self._fail("more was recorded than can be kept before the first picture")
            return
        self._write(self._writer, recorded)

    async def close(self, *, timeout_s: float = 5.0) -> None:
        """Finish the last file."""
        if self._opening is not None:
            await self._opening
        if self._writer is not None:
            writer = self._writer
            await asyncio.get_running_loop().run_in_executor(self._thread, lambda: writer.close(timeout_s=timeout_s))
        self._thread.shutdown(wait=False)

    def abandon(self) -> None:
        """No frame ever came."""
        self._held.clear()
        self._thread.shutdown(wait=False)

    async def _open(self, session: Session) -> None:
        def opened() -> RecordingWriter:
            return RecordingWriter(self._uri, session, lake=self._lake, keep=self._keep)

        try:
            writer = await asyncio.get_running_loop().run_in_executor(self._thread, opened)
        except RunError as error:
            self._fail(str(error))
            return
        while self._held:
            self._write(writer, self._held.popleft())
        self._writer = writer

    def _write(self, writer: RecordingWriter, recorded: Recorded) -> None:
        writer.write(
            recorded.data,
            is_first=recorded.is_first,
            start_time_s=recorded.start_time_s,
            end_time_s=recorded.end_time_s,
        )
        if writer.error is not None:
            self._tally.last_error = f"recording: {writer.error}"

    def _fail(self, problem: str) -> None:
        self._has_failed = True
        self._held.clear()
        self._tally.last_error = f"recording: {problem}"
