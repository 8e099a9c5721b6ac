"""A stream whose process takes long to start is there all the same, and can be stopped."""

import asyncio
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rows import dataset_info
from typing_extensions import override

from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.pulling.source import AllowedSources, Source
from pipeline.cameras.streams import NoSuchStream, Streams
from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset
from pipeline.records.streams import StreamSpec, StreamState
from serve.cameras import starting
from serve.cameras.starting import Starting

CAMERA = "rtsp://camera.example/cam"
SPEC = StreamSpec(name="gate", source=CAMERA, rate_hz=Fraction(1))
SOURCE = Source.parse(CAMERA, allowed=AllowedSources.parse(["rtsp://camera.example"]))


async def no_model(_: NDArray[np.uint8], /) -> NDArray[np.float32]:
    raise AssertionError


class SlowStreams(Streams):
    """Streams that begin when a test says so, or fail."""

    def __init__(self, settings: StreamSettings) -> None:
        super().__init__(settings)
        self.may_begin = asyncio.Event()
        self.failure: UsageError | None = None
        self.statuses: dict[str, StreamStatus] = {}
        self.forgotten: list[str] = []

    @override
    async def start(self, spec: StreamSpec, source: Source) -> None:
        self.statuses[spec.name] = StreamStatus.starting(spec)
        try:
            await self.may_begin.wait()
            if self.failure is not None:
                raise self.failure
        except BaseException:
            del self.statuses[spec.name]
            raise

    @override
    def status(self, name: str) -> StreamStatus:
        if name not in self.statuses:
            raise NoSuchStream(name)
        return self.statuses[name]


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SlowStreams, Starting]:
    monkeypatch.setattr(starting, "_PATIENCE_S", 0.05)
    settings = StreamSettings(lake=str(tmp_path / "lake"), info=dataset_info(), embed=no_model)
    streams = SlowStreams(settings)

    async def forget(name: str) -> None:
        streams.forgotten.append(name)

    return streams, Starting(streams, settings, on_failure=forget)


async def over(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_slow_start_is_answered_before_it_is_done(slow: tuple[SlowStreams, Starting]) -> None:
    streams, starts = slow

    async def main() -> None:
        status = await starts.start(SPEC, SOURCE)
        assert (status.state, status.reason) == (StreamState.CONNECTING, "its process starts")
        assert "gate" in starts
        streams.may_begin.set()
        await over(lambda: "gate" not in starts)
        assert streams.status("gate").spec is SPEC

    asyncio.run(main())


def test_stream_that_has_not_begun_is_stopped_at_once(slow: tuple[SlowStreams, Starting]) -> None:
    streams, starts = slow

    async def main() -> None:
        await starts.start(SPEC, SOURCE)
        assert (await starts.abandon("gate")).state is StreamState.STOPPED
        assert "gate" not in starts
        with pytest.raises(NoSuchStream):
            streams.status("gate")

    asyncio.run(main())


def test_failure_within_the_time_is_the_answer_and_a_later_one_is_logged(
    slow: tuple[SlowStreams, Starting], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []  # not ``caplog``: where Serve runs in this process, it sends the log elsewhere
    monkeypatch.setattr(starting._LOG, "warning", lambda message, **_: told.append(message))
    streams, starts = slow

    async def main() -> None:
        streams.failure = UsageError("taken by another program")
        await starts.start(SPEC, SOURCE)
        streams.may_begin.set()
        await over(lambda: streams.forgotten == ["gate"])
        with pytest.raises(UsageError, match="another program"):
            await starts.start(SPEC, SOURCE)
        assert "gate" not in starts

    asyncio.run(main())
    assert told == ["a stream could not be started"]


def test_lake_with_other_settings_is_told_before_anything_is_started(slow: tuple[SlowStreams, Starting]) -> None:
    streams, starts = slow
    other = StreamSpec(name="gate", source=CAMERA, rate_hz=Fraction(7))

    async def main() -> None:
        Dataset.at(starts._settings.lake).create(dataset_info())
        with pytest.raises(UsageError, match="--sample"):
            await starts.start(other, SOURCE)
        assert not streams.statuses

    asyncio.run(main())
