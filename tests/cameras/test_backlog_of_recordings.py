"""A reader that is slow loses whole ends of recordings: a file with a hole would not decode behind it."""

from pipeline.cameras.pulling.backlog import Backlog
from pipeline.cameras.pulling.pulled import Pulled, PullLimits, Recorded


def part(number: int, *, is_first: bool = False) -> Recorded:
    return Recorded(data=bytes([number]) * 10, is_first=is_first, start_time_s=number, end_time_s=number + 1)


def drained(backlog: Backlog) -> list[Pulled]:
    items = []
    while (item := backlog.get(0)) is not None:
        items.append(item)
    return items


def test_what_is_kept_of_a_file_has_no_hole() -> None:
    backlog = Backlog(PullLimits(max_recorded_bytes=35))
    for number in range(5):
        backlog.put(part(number, is_first=number == 0))

    assert drained(backlog) == [part(0, is_first=True), part(1), part(2)]
    backlog.put(part(5))
    assert drained(backlog) == []
    for number in (6, 7):
        backlog.put(part(number, is_first=number == 6))
    assert drained(backlog) == [part(6, is_first=True), part(7)]
