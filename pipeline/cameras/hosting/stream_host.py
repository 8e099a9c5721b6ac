"""One stream, from its start to its stop: what pulls, analyses, embeds and commits, put together."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from pipeline.cameras.analysis.analysis import Analysis
from pipeline.cameras.analysis.choice import DetectorChoice
from pipeline.cameras.analysis.detector import Detector
from pipeline.cameras.hosting.commits import Commits
from pipeline.cameras.hosting.connections import Connection, Connections
from pipeline.cameras.hosting.live_head import WatchingHead
from pipeline.cameras.hosting.news import News, NewsDesk
from pipeline.cameras.hosting.session_run import LiveHead, SessionRun, detect_rate_of
from pipeline.cameras.hosting.sessions import Sessions
from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.hosting.tally import Tally
from pipeline.cameras.hosting.wall_clock import SlotClock
from pipeline.cameras.pulling.pulled import Wishes
from pipeline.cameras.pulling.puller import Puller
from pipeline.cameras.pulling.source import Source
from pipeline.cameras.recordings.files import RecordingFiles
from pipeline.errors import PipelineError, RunError, UsageError
from pipeline.lake.live.writer import LiveWriter
from pipeline.records.event_ids import EventIds
from pipeline.records.events import Event
from pipeline.records.streams import Session, StreamSpec, StreamState

_HEAD_S = 10.0
"""How often another version of the head is looked for."""


class StreamHost:
    """A stream in this process. All methods belong to one event loop."""

    def __init__(
        self,
        spec: StreamSpec,
        source: Source,
        settings: StreamSettings,
        *,
        detector: Detector | None = None,
        head: LiveHead | None = None,
        connect: Callable[[], Connection] | None = None,
    ) -> None:
        """Nothing is touched yet.

        Args:
            spec: how the stream is watched.
            source: where from.
            settings: what streams share; its ``info`` has the sampling rule of this stream.
            detector: takes pictures, where the spec asks for one that does.
            head: tells labels, where the spec asks for one.
            connect: makes a connection; ``None``: to the source.
        """
        self._spec = spec
        self._source = source
        self._settings = settings
        self._detector = detector
        self._head = head
        self._connect = connect or self._open_puller
        self._ids = EventIds(spec.name)
        self._desk = NewsDesk()
        self._tally = Tally(spec, ids=self._ids, on_event=self._on_event)
        self._commits: Commits | None = None
        self._sessions: Sessions | None = None
        self._connections: Connections | None = None
        self._running: asyncio.Task[None] | None = None
        self._failure: PipelineError | None = None

    @classmethod
    async def prepared(
        cls, spec: StreamSpec, source: Source, settings: StreamSettings, *, network: Detector | None
    ) -> Self:
        """A stream with the head and the detector that its spec asks for; raises as ``start`` does.

        ``network`` is the detector where that is a network, which streams share.
        """
        head, detector = None, network
        if spec.head is not None:
            if settings.heads is None:
                raise UsageError(f"--head {spec.head}: --heads says where heads are, and is missing")
            head = await asyncio.to_thread(WatchingHead, settings.heads, spec.head, info=settings.info)
        if detector is None:
            detector = DetectorChoice.parse(spec.detect).open()
        return cls(spec, source, settings, head=head, detector=detector)

    async def start(self, *, died_before: bool = False) -> None:
        """Take the stream's lease in the lake, and begin to connect, perhaps in the place of a process that died.

        Raises:
            UsageError: another program writes this stream, or the lake was made with other settings, or recordings
                cannot be written where they are to go.
            StorageError: the store failed.
        """
        spec, settings, is_file = self._spec, self._settings, self._source.origin is None
        if spec.record is not None:
            await asyncio.to_thread(RecordingFiles(spec.record).ensure_writable)
        writer = await asyncio.to_thread(
            LiveWriter,
            settings.lake,
            info=settings.info,
            stream=spec.name,
            uri_of_source=spec.source,
            # Looked at with each commit alone: what the next one would find overdue is published with this one.
            publish_s=max(0.0, settings.publish_s - settings.commit_s),
            is_successor=died_before,
        )
        self._commits = Commits(writer, commit_s=settings.commit_s, tally=self._tally)
        self._sessions = Sessions(
            spec,
            settings,
            tally=self._tally,
            commits=self._commits,
            begin_run=self._begin_run,
            video_id=writer.past_session,
            gap_since=None if is_file or writer.tells_what_a_kill_lost else datetime.now(UTC),
        )
        self._connections = Connections(
            self._connect,
            sessions=self._sessions,
            tally=self._tally,
            stall_s=settings.stall_s,
            is_file=is_file,
        )
        if died_before:
            self._tally.become(StreamState.RECONNECTING, "its process ended")
        else:
            self._tally.become(StreamState.CONNECTING, "starting")
        self._running = asyncio.create_task(self._run(self._connections, self._sessions, self._commits))

    async def stop(self) -> StreamStatus:
        """End the stream, in any state; returns when what was buffered is committed.

        Raises:
            PipelineError: what the lake could not take is lost, and why.
        """
        if self._connections is not None and self._sessions is not None:
            self._connections.stop()
            self._sessions.hurry()
        if self._running is not None:
            await self._running
        if self._failure is not None:
            raise self._failure
        return self.status()

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended, by itself or because it was stopped."""
        return self._running is not None and self._running.done()

    def status(self) -> StreamStatus:
        """How it is now."""
        return self._tally.status()

    async def news(self, since: int, *, timeout_s: float) -> News:
        """Events from number ``since`` on, as soon as there is one or the time is over, and how the stream is then."""
        events, number = await self._desk.wait(since, timeout_s=0 if self.is_over else timeout_s)
        return News(events=events, next=number, status=self.status(), is_over=self.is_over)

    async def picture(self, *, boxes: bool) -> bytes | None:
        """The newest picture as a JPEG; ``None``: there was none yet."""
        newest = None if self._sessions is None else self._sessions.newest
        if newest is None:
            return None
        from pipeline.media.boxed_picture import Labelled, boxed_jpeg

        labels = [
            Labelled(box=point.box, text=f"{point.label or 'object'} {point.track}", number=point.track)
            for point in newest.points
        ]
        return await asyncio.to_thread(boxed_jpeg, newest.pixels, labels if boxes else ())

    async def _run(self, connections: Connections, sessions: Sessions, commits: Commits) -> None:
        following = asyncio.create_task(self._follow_head())
        committing = asyncio.create_task(commits.run())
        pulling = asyncio.create_task(connections.run())
        try:
            await asyncio.wait((committing, pulling), return_when=asyncio.FIRST_COMPLETED)
            if not pulling.done():  # the lake takes nothing from here any more
                connections.stop()
            reason = await pulling
            await sessions.analysed()
            if not committing.done():
                self._tally.become(StreamState.STOPPED, reason)
            await sessions.close()
            commits.stop()
            await asyncio.wait((committing,))
            await self._close(commits, committing)
        finally:
            following.cancel()
            connections.close()
            if self._detector is not None:
                await self._detector.close()
            self._desk.wake()

    async def _close(self, commits: Commits, committing: asyncio.Task[None]) -> None:
        """Commit what is left, and keep what is in the way of that."""
        failure: BaseException | None = committing.exception()
        if failure is not None:
            self._tally.become(StreamState.STOPPED, str(failure))
        try:
            await commits.close()
        except RunError as error:
            failure = failure or error
        if failure is not None:
            self._tally.last_error = str(failure)
            fault = RunError(f"a fault of vidlake's own: {failure!r}")
            self._failure = failure if isinstance(failure, PipelineError) else fault

    async def _follow_head(self) -> None:
        """Take up each version of the head that is put to use."""
        while self._head is not None:
            await asyncio.sleep(_HEAD_S)
            await asyncio.to_thread(self._head.look)

    def _open_puller(self) -> Puller:
        spec = self._spec
        detect_hz = detect_rate_of(spec)
        wishes = Wishes(rate_hz=spec.rate_hz, detect_rate_hz=detect_hz, is_recording=spec.record is not None)
        return Puller(self._source, wishes=wishes)

    def _begin_run(self, session: Session, clock: SlotClock) -> SessionRun:
        analysis = Analysis(self._spec, session=session, new_event_id=self._ids.next, detector=self._detector)
        return SessionRun(
            session,
            spec=self._spec,
            clock=clock,
            analysis=analysis,
            head=self._head,
            on_event=self._tell,
        )

    def _on_event(self, event: Event) -> None:
        """An event of the stream itself: for the lake, and for whoever listens."""
        if self._commits is not None:
            self._commits.event(event)
        self._desk.tell(event)

    def _tell(self, event: Event) -> None:
        """An event of a session, which takes it to the lake."""
        self._tally.count("events")
        self._desk.tell(event)
