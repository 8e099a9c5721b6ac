"""Pictures of sockets that wait: the oldest is dropped, and all of them together stay within the replica's memory."""

import asyncio

from serve.inference.backlogs import Backlog, Backlogs
from serve.problems import BodyTooLarge, Problem
from serve.settings import Limits


def backlogs(*, max_bytes: int, length: int = 100) -> Backlogs:
    return Backlogs(Limits(live_memory_bytes=max_bytes, live_queue=length))


async def drained(backlog: Backlog) -> tuple[int, list[bytes | Problem]]:
    """How many pictures were dropped, and what is left of the others."""
    backlog.close()
    total = 0
    contents: list[bytes | Problem] = []
    while not backlog.is_over:
        num_dropped, picture = await backlog.next()
        total += num_dropped
        contents += [picture.content] if picture else []
    return total, contents


def test_backlog_drops_the_oldest_and_counts() -> None:
    async def main() -> None:
        backlog = Backlog(length=2)
        for name in b"abcde":
            backlog.put(bytes([name]))
        taken = [await backlog.next() for _ in range(2)]
        assert [(num_dropped, picture and (picture.seq, picture.content)) for num_dropped, picture in taken] == [
            (3, (3, b"d")),
            (0, (4, b"e")),
        ]
        backlog.close()
        assert await backlog.next() == (0, None)

    asyncio.run(main())


def test_socket_that_holds_most_makes_room_for_the_others() -> None:
    async def main() -> None:
        all_of_them = backlogs(max_bytes=100)
        with all_of_them.opened() as large, all_of_them.opened() as small:
            for _ in range(3):
                large.put(bytes(30))
            for at in range(4):
                small.put(bytes([at]) * 10)
            assert all_of_them.num_bytes == 100
            assert await drained(small) == (0, [bytes([at]) * 10 for at in range(4)])
            assert await drained(large) == (1, [bytes(30)] * 2)

    asyncio.run(main())


def test_picture_at_work_counts_and_is_never_taken_back() -> None:
    async def main() -> None:
        all_of_them = backlogs(max_bytes=100)
        with all_of_them.opened() as first, all_of_them.opened() as second:
            first.put(bytes(90))
            _, at_work = await first.next()
            second.put(bytes(20))
            assert all_of_them.num_bytes == 90
            assert await second.next() == (1, None), "its client hears of the drop at once"
            assert at_work is not None
            first.close()
            await first.next()
            second.put(bytes(20))
            assert await drained(second) == (0, [bytes(20)])

    asyncio.run(main())


def test_memory_is_never_more_than_the_limit_whoever_sends_what() -> None:
    async def main() -> None:
        all_of_them = backlogs(max_bytes=1000, length=8)
        with all_of_them.opened() as one, all_of_them.opened() as two, all_of_them.opened() as three:
            for at in range(300):
                backlog = (one, two, three)[at % 3]
                backlog.put(bytes(at * 37 % 1000))
                assert all_of_them.num_bytes <= 1000
                if at % 7 == 0:
                    await backlog.next()

    asyncio.run(main())


def test_socket_that_is_gone_holds_nothing() -> None:
    all_of_them = backlogs(max_bytes=100)
    with all_of_them.opened() as backlog:
        backlog.put(bytes(60))
    assert all_of_them.num_bytes == 0


def test_picture_that_was_too_long_is_kept_in_order_without_its_bytes() -> None:
    async def main() -> None:
        all_of_them = backlogs(max_bytes=100)
        refusal = BodyTooLarge("a body may have 50 bytes")
        with all_of_them.opened() as backlog:
            backlog.put(b"first")
            backlog.put(refusal)
            assert all_of_them.num_bytes == 5
            assert await drained(backlog) == (0, [b"first", refusal])

    asyncio.run(main())
