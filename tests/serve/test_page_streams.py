"""The view of streams in a real browser: states, pictures with lines and zones, and events as they come.

What the streams do is a list in memory; real ones are in ``test_streams_on_ray.py``.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from browsers import chromium, needs_chromium, opened
from serving import KEY, encoded, noise, serving
from typing_extensions import override

from pipeline.cameras.hosting.status import StreamCounters, StreamStatus
from pipeline.records.events import Event, EventType
from pipeline.records.geometry import Line, Zone
from pipeline.records.streams import StreamSpec, StreamState
from serve.cameras.remote import Cameras
from serve.cameras.requests import StreamRequest

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def status(name: str, state: StreamState) -> StreamStatus:
    spec = StreamSpec(
        name=name,
        source=f"rtsp://{name}.example:554/cam",
        rate_hz=Fraction(1),
        lines=(Line.parse("ROAD:0.1,0.8,0.9,0.7"),),
        zones=(Zone.parse("yard:0.2,0.2,0.6,0.2,0.6,0.6"),),
    )
    return StreamStatus(
        spec=spec,
        state=state,
        since=NOW,
        reason="because",
        session=None,
        counters=StreamCounters(pictures=5 if state == StreamState.PLAYING else 0),
        lag_s=0.25,
        last_error=None if state == StreamState.PLAYING else "nobody answers",
    )


@dataclass
class TwoStreams(Cameras):
    """One that plays and one that does not; ``happened`` are their events."""

    happened: list[Event] = field(default_factory=list)

    @override
    async def start(self, request: StreamRequest) -> StreamStatus:
        raise NotImplementedError

    @override
    async def stop(self, name: str) -> StreamStatus:
        raise NotImplementedError

    @override
    async def statuses(self) -> list[StreamStatus]:
        return [status("gate", StreamState.PLAYING), status("barn", StreamState.RECONNECTING)]

    @override
    async def status(self, name: str) -> StreamStatus:
        return next(each for each in await self.statuses() if each.spec.name == name)

    @override
    async def picture(self, name: str, *, boxes: bool) -> bytes:
        return encoded(noise(seed=boxes), "JPEG")

    @override
    async def events(self, *, stream: str | None, type: EventType | None, after: str | None) -> AsyncIterator[Event]:
        return self._events([event.event_id for event in self.happened].index(after) + 1 if after else 0)

    async def _events(self, start: int) -> AsyncIterator[Event]:
        while True:
            for event in self.happened[start:]:
                start += 1
                yield event
            await asyncio.sleep(0.01)


def crossing(number: int) -> Event:
    return Event(
        event_id=f"gate-{number:04}",
        video_id=None,
        uri="rtsp://gate.example:554/cam",
        stream="gate",
        type=EventType.LINE_CROSSED,
        pts=None,
        time_s=None,
        captured_at=NOW,
        name="ROAD",
        label=f"car {number}",
    )


@pytest.mark.slow
@needs_chromium
def test_streams_are_shown_as_they_are_and_events_as_they_come() -> None:
    streams = TwoStreams(happened=[crossing(0)])
    with chromium() as browser, serving(keys=(KEY,), streams=streams) as live:
        for scheme, width in (("light", 1280), ("dark", 400)):
            seen = opened(
                browser, f"{live.url}/#/streams", color_scheme=scheme, viewport={"width": width, "height": 800}
            )
            page = seen.page
            page.get_by_label("API key").fill(KEY)
            page.keyboard.press("Enter")
            gate = page.locator("article", has=page.get_by_role("heading", name="gate playing"))
            gate.locator("img").wait_for()
            assert "line ROAD, zone yard" in (gate.locator("img").get_attribute("alt") or "")
            assert (gate.locator("polyline").count(), gate.locator("polygon").count()) == (1, 1)
            barn = page.locator("article", has=page.get_by_role("heading", name="barn reconnecting"))
            assert "nobody answers" in barn.inner_text()
            assert barn.locator("img").count() == 0
            page.get_by_role("log").get_by_text("car 0").wait_for()
            streams.happened.append(crossing(len(streams.happened)))
            last = page.get_by_role("log").get_by_text(f"car {len(streams.happened) - 1}")
            last.wait_for()
            assert "line crossed" in last.inner_text()
            assert seen.serious() == []
            assert seen.width_px() <= width
            assert seen.complaints == []
            page.context.close()
