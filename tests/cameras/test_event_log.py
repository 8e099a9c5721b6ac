"""Whoever listens hears each event once, in order, from where it left off."""

import asyncio
from datetime import UTC, datetime

from pipeline.cameras.event_log import EventLog
from pipeline.records.events import Event, EventType

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def event(number: int) -> Event:
    return Event(
        event_id=f"{number:014x}-gate",
        video_id=None,
        uri="rtsp://camera/1",
        stream="gate",
        type=EventType.STREAM_STATE,
        pts=None,
        time_s=None,
        captured_at=NOON,
    )


async def heard(log: EventLog, start: int) -> list[str]:
    return [each.event_id for each in [event async for event in log.listen(start)]]


def ids(numbers: range) -> list[str]:
    return [event(number).event_id for number in numbers]


def test_a_listener_hears_what_comes_later_each_once_until_the_end() -> None:
    async def run() -> list[str]:
        log = EventLog()
        log.add([event(0)])
        listening = asyncio.create_task(heard(log, log.end))
        for number in range(1, 6):
            await asyncio.sleep(0)
            log.add([event(number)])
        log.close()
        return await listening

    assert asyncio.run(run()) == ids(range(1, 6))


def test_a_slow_listener_misses_nothing_that_comes_while_it_is_busy() -> None:
    async def run() -> list[str]:
        log, told = EventLog(), []
        log.add([event(0), event(1)])

        async def listen() -> None:
            async for each in log.listen(0):
                told.append(each.event_id)
                if len(told) < 5:
                    log.add([event(len(told) + 1)])
                else:
                    log.close()

        await asyncio.wait_for(listen(), 5)
        return told

    told = asyncio.run(run())

    assert told == ids(range(len(told)))
    assert len(told) >= 5


def test_it_goes_on_behind_the_last_event_that_was_heard() -> None:
    log = EventLog()
    log.add(event(number) for number in range(5))

    assert log.behind(event(2).event_id) == 3
    assert log.behind(event(4).event_id) == log.end == 5
    assert log.behind(event(9).event_id) is None
