"""Pulling a source in a test, and what came of it."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.cameras.pulling.pulled import Ended, Frame, Opened, Pulled, PullLimits, Recorded, Wishes
from pipeline.cameras.pulling.puller import Puller
from pipeline.cameras.pulling.source import AllowedSources, Credentials, Source
from pipeline.media.decode.pixels import Painter


@dataclass
class Session:
    """What came between one ``Opened`` and the next."""

    opened: Opened
    frames: list[Frame] = field(default_factory=list)

    @property
    def slots(self) -> list[int]:
        return [frame.slot for frame in self.frames if frame.slot is not None]

    @property
    def samples(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.slot is not None]

    def at(self, frame: Frame) -> Fraction:
        """When a frame is shown, by the stream's own clock."""
        return frame.pts * self.opened.time_base


@dataclass
class Pull:
    """All that a puller handed over."""

    sessions: list[Session] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    ended: Ended | None = None

    def take(self, item: Pulled | None) -> None:
        if isinstance(item, Opened):
            self.sessions.append(Session(item))
        elif isinstance(item, Frame):
            self.sessions[-1].frames.append(item)
        elif isinstance(item, Recorded):
            self.recorded.append(item)
        elif isinstance(item, Ended):
            self.ended = item

    @property
    def frames(self) -> list[Frame]:
        return [frame for session in self.sessions for frame in session.frames]

    @property
    def files(self) -> list[bytes]:
        """The recording's files, whole."""
        files: list[bytes] = []
        for part in self.recorded:
            if part.is_first:
                files.append(b"")
            files[-1] += part.data
        return files


def source_of(url: str, *allowed: str, credentials: Credentials | None = None) -> Source:
    """A source as an operator names it, who allows further addresses."""
    return Source.parse(url, allowed=AllowedSources.parse(allowed).with_own(url), credentials=credentials)


def pulled(
    source: Source | str,
    *,
    rate: str = "5",
    detect_rate: str | None = None,
    is_recording: bool = False,
    until: Callable[[Pull], bool] = lambda pull: False,
    within_s: float = 40.0,
    **limits: Any,
) -> Pull:
    """Pull a source until it ends or enough has come."""
    wishes = Wishes(
        rate_hz=Fraction(rate),
        detect_rate_hz=None if detect_rate is None else Fraction(detect_rate),
        is_recording=is_recording,
    )
    pull = Pull()
    deadline = time.monotonic() + within_s
    with Puller(
        source_of(source) if isinstance(source, str) else source, wishes=wishes, limits=PullLimits(**limits)
    ) as puller:
        while pull.ended is None and not until(pull):
            assert time.monotonic() < deadline, f"{len(pull.frames)} frames in {len(pull.sessions)} sessions so far"
            pull.take(puller.read(0.2))
    return pull


def decoded(data: bytes) -> dict[Fraction, NDArray[np.uint8]]:
    """All pictures of a file by their times, decoded in order on one thread, as the batch does."""
    found, painter = {}, Painter()
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.best("video")
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert stream.time_base is not None
            room = np.empty(painter.shape_of(frame), np.uint8)
            painter.paint(frame, into=room)
            found[frame.pts * stream.time_base] = room
    return found


def assert_replays(pull: Pull) -> int:
    """Hold every live picture against the batch's picture of the same pts in the recording.

    Returns:
        How many samples are recorded: with those whose pictures were dropped, as on a busy machine they are.
    """
    recorded: dict[Fraction, NDArray[np.uint8]] = {}
    for file in pull.files:
        recorded |= decoded(file)
    shown = [
        (frame, recorded[session.at(frame)])
        for session in pull.sessions
        for frame in session.samples
        if session.at(frame) in recorded
    ]
    assert not all(frame.is_dropped for frame, _ in shown)
    for frame, picture in shown:
        if not frame.is_dropped:
            np.testing.assert_array_equal(frame.picture, picture)
    return len(shown)
