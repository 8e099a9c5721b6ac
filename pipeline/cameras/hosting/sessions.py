"""The sessions of a stream, one after another: what each begins with, what goes through it, and how it ends."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.hosting.commits import Commits
from pipeline.cameras.hosting.model_queue import ModelQueue
from pipeline.cameras.hosting.newest_wins import capacity_for
from pipeline.cameras.hosting.recording import Recording
from pipeline.cameras.hosting.session_run import Sample, SessionRun, session_of
from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.tally import Tally
from pipeline.cameras.hosting.wall_clock import SlotClock
from pipeline.cameras.pulling.pulled import Frame, Opened, Recorded
from pipeline.lake.live.gap_slots import gap_between_sessions
from pipeline.models.preprocess import prepare
from pipeline.records.events import TrackPoint
from pipeline.records.streams import Gap, GapReason, Session, StreamSpec

_PATIENCE_S = 60.0
"""How long a session that has ended waits for the model's answers to its last samples."""
_HURRIED_PATIENCE_S = 0.7
"""The same where the stream is stopped."""
_CLOSE_S, _HURRIED_CLOSE_S = 5.0, 1.0
"""How long the last file of a recording may take to be written."""
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestPicture:
    """The last picture that came in whole, and where objects were about then."""

    pixels: NDArray[np.uint8]
    points: tuple[TrackPoint, ...]


class Sessions:
    """Takes what the connections of a stream bring. All methods belong to the stream's event loop."""

    def __init__(
        self,
        spec: StreamSpec,
        settings: StreamSettings,
        *,
        tally: Tally,
        commits: Commits,
        begin_run: Callable[[Session, SlotClock], SessionRun],
        video_id: str | None,
        gap_since: datetime | None,
    ) -> None:
        """No session yet.

        Args:
            spec: how the stream is watched.
            settings: what streams share.
            tally: of the stream.
            commits: take what is to be written.
            begin_run: makes the run of a session.
            video_id: the stream's last session in the lake; ``None``: it had none.
            gap_since: from when slots without a session count as missing; ``None``: from the first session on.
        """
        self._spec = spec
        self._settings = settings
        self._tally = tally
        self._commits = commits
        self._begin_run = begin_run
        self._gap_since = gap_since
        self._gap_reason = GapReason.DISCONNECTED
        self._video_id = video_id
        self._opened: Opened | None = None
        self._run: SessionRun | None = None
        self._recording: Recording | None = None
        self._thread = ThreadPoolExecutor(1, "prepare")
        self._endings: dict[asyncio.Future[None], SessionRun] = {}
        self._is_hurried = False
        self._queue: ModelQueue[Sample] = ModelQueue(
            settings.embed,
            capacity=capacity_for(spec.rate_hz),
            on_feature=self._embedded,
            on_dropped=self._dropped,
        )
        self.newest: NewestPicture | None = None

    @property
    def lateness_s(self) -> float:
        """By how much the pictures of the session are behind its clock."""
        return 0.0 if self._run is None else self._run.clock.lateness_s

    def opened(self, opened: Opened) -> None:
        """Another session begins with the next frame."""
        self._end_run(GapReason.DISCONNECTED)
        self._opened = opened
        if self._spec.record is not None:
            self._recording = Recording(
                self._spec.record, lake=self._settings.lake, keep_s=self._settings.keep_s, tally=self._tally
            )

    async def frame(self, frame: Frame) -> None:
        """Look at a frame, and send it to the model where it is a sample."""
        run = self._run or self._begin(frame)
        self._tally.count("pictures")
        outcome = run.look(frame)
        if run.problem is not None:
            self._tally.last_error = run.problem
        if frame.picture is not None:
            self.newest = NewestPicture(pixels=frame.picture, points=tuple(run.newest_points))
        if isinstance(outcome, Sample) and frame.picture is not None:
            await self._send(outcome, frame.picture)
        elif isinstance(outcome, GapReason):
            self._tally.count(outcome.value)

    def recorded(self, recorded: Recorded) -> None:
        """Keep the next part of the recording."""
        if self._recording is not None:
            self._recording.write(recorded)

    def connection_over(self, gap: GapReason | None) -> None:
        """Nothing more comes from this connection.

        Args:
            gap: what the time to the next session counts as; ``None``: the stream ends here, and misses nothing.
        """
        was_playing = self._run is not None
        self._end_run(gap or GapReason.DISCONNECTED)
        self._opened = None
        if gap is None and was_playing:
            self._gap_since = None

    def hurry(self) -> None:
        """The stream is being stopped: the model is waited for no longer than can be helped."""
        self._is_hurried = True

    async def analysed(self) -> None:
        """Wait until what ends with the sessions that are over is told; the model may still be at work on them."""
        for run in list(self._endings.values()):
            await run.analysis_ended.wait()

    async def close(self) -> None:
        """Wait until all that came in is a row or told, and tell what is missing from the last session until now."""
        while self._endings:
            await asyncio.wait(self._endings)
        self._queue.close()
        self._commits.end_with(self._gap_until(datetime.now(UTC)))
        self._thread.shutdown(wait=False)

    def _begin(self, frame: Frame) -> SessionRun:
        if self._opened is None:
            raise RuntimeError("a frame came before its stream was described")
        started_at = datetime.fromtimestamp(frame.arrived_at, UTC)
        session = session_of(self._opened, spec=self._spec, started_at=started_at)
        run = self._begin_run(session, SlotClock(started_at_s=frame.arrived_at, rate_hz=self._spec.rate_hz))
        self._commits.begin(run, behind=self._gap_until(started_at))
        self._run, self._video_id = run, session.video_id
        self._tally.session = session.video_id
        self._tally.count("sessions")
        if self._recording is not None:
            self._recording.begin(session)
        return run

    def _gap_until(self, until: datetime) -> Gap | None:
        if self._gap_since is None:
            return None
        return gap_between_sessions(
            video_id=self._video_id,
            uri=self._spec.source,
            stream=self._spec.name,
            reason=self._gap_reason,
            captured_from=self._gap_since,
            captured_to=until,
            rate_hz=self._spec.rate_hz,
        )

    async def _send(self, sample: Sample, picture: NDArray[np.uint8]) -> None:
        if self._commits.is_behind:
            self._dropped(sample, "the lake cannot be written")
            return
        preprocessing = self._settings.info.config.model.preprocessing
        call = partial(prepare, picture, preprocessing=preprocessing)
        prepared = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        self._queue.put(sample, prepared)

    def _embedded(self, sample: Sample, feature: NDArray[np.float32]) -> None:
        if sample.run.embedded(sample, feature):
            self._tally.count("samples")
            self._tally.lag_s = max(0.0, time.time() - sample.arrived_at)

    def _dropped(self, sample: Sample, problem: str | None) -> None:
        self._tally.count("dropped", sample.run.ledger.missed([sample.slot], GapReason.DROPPED))
        if problem is not None:
            self._tally.last_error = problem

    def _end_run(self, gap: GapReason) -> None:
        run, recording = self._run, self._recording
        self._run = self._recording = None
        if run is None:
            if recording is not None:
                recording.abandon()
            return
        self._tally.session = None
        self._gap_since, self._gap_reason = run.ledger.end_at, gap
        ending = asyncio.ensure_future(self._end(run, recording))
        self._endings[ending] = run
        ending.add_done_callback(lambda done: self._endings.pop(done, None))

    async def _end(self, run: SessionRun, recording: Recording | None) -> None:
        """Wait for what is still on its way, and then let the session end in the lake."""
        finishing = [self._answers(run), run.end_analysis()]
        if recording is not None:
            finishing.append(recording.close(timeout_s=_HURRIED_CLOSE_S if self._is_hurried else _CLOSE_S))
        for failure in await asyncio.gather(*finishing, return_exceptions=True):
            if isinstance(failure, Exception):  # whatever it is, the session ends in the lake
                self._tally.last_error = f"at the end of a session: {failure}"
        self._tally.count("dropped", run.ledger.drop_pending())
        run.is_over = True
        self._commits.soon()

    async def _answers(self, run: SessionRun) -> None:
        began = time.monotonic()
        while run.ledger.num_pending:
            patience_s = _HURRIED_PATIENCE_S if self._is_hurried else _PATIENCE_S
            if time.monotonic() - began > patience_s:
                return
            await asyncio.sleep(_LOOK_S)
