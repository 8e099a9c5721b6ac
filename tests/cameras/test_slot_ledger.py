"""Every slot of a session is a row or in exactly one gap, whose edges are exact k/R."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from sessions import camera_session

from pipeline.cameras.hosting.slot_ledger import Settled, SlotLedger
from pipeline.media.sampling.fps import slot_of
from pipeline.media.sampling.pickers import allowance_of
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, GapReason, Session

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def session(time_base: Fraction = Fraction(1, 90000), start_pts: int = 0) -> Session:
    return camera_session(
        "0" * 20, uri="rtsp://camera/1", started_at=NOON, time_base=time_base, start_pts=start_pts, size=(640, 360)
    )


def at(slot: int, rate_hz: Fraction) -> datetime:
    return NOON + timedelta(seconds=float(slot / rate_hz))


def embed(ledger: SlotLedger, slot: int) -> bool:
    mark = FrameMark(epoch=0, pts=slot, time_s=float(slot), is_keyframe=False, is_corrupt=False)
    return ledger.embedded(slot, mark=mark, feature=np.full(4, slot, np.float32))


def play(ledger: SlotLedger, slots: range | list[int], *, rate_hz: Fraction = Fraction(5)) -> None:
    for slot in slots:
        ledger.announce(slot, captured_at=at(slot, rate_hz))


def slots_of(gap: Gap, rate_hz: Fraction) -> range:
    assert gap.start_s is not None
    assert gap.end_s is not None
    return range(round(gap.start_s * rate_hz), round(gap.end_s * rate_hz))


def summary(settled: Settled, rate_hz: Fraction = Fraction(5)) -> tuple[list[int], list[tuple[str, range]]]:
    return [row.mark.pts for row in settled.rows], [(gap.reason.value, slots_of(gap, rate_hz)) for gap in settled.gaps]


def test_a_slot_that_no_frame_is_in_is_corrupt() -> None:
    ledger = SlotLedger(session(), rate_hz=Fraction(5))
    play(ledger, [0, 1, 5])
    for slot in (0, 1, 5):
        embed(ledger, slot)

    assert summary(ledger.take()) == ([0, 1, 5], [("corrupt", range(2, 5))])


def test_what_is_taken_ends_before_the_first_slot_that_is_not_settled() -> None:
    ledger = SlotLedger(session(), rate_hz=Fraction(5))
    play(ledger, range(5))
    ledger.missed([3, 4], GapReason.DROPPED)
    embed(ledger, 0)
    embed(ledger, 2)

    assert summary(ledger.take()) == ([0], [])
    embed(ledger, 1)
    assert summary(ledger.take()) == ([1, 2], [("dropped", range(3, 5))])
    assert summary(ledger.take()) == ([], [])


def test_neighbours_of_one_reason_are_one_gap_and_of_two_reasons_two() -> None:
    ledger = SlotLedger(session(), rate_hz=Fraction(5))
    play(ledger, range(6))
    ledger.missed([0, 1, 4, 5], GapReason.GATED)
    ledger.missed([2, 3], GapReason.DROPPED)

    _, gaps = summary(ledger.take())

    assert gaps == [("gated", range(2)), ("dropped", range(2, 4)), ("gated", range(4, 6))]


def test_frames_that_the_camera_took_with_it_are_corrupt() -> None:
    ledger = SlotLedger(session(), rate_hz=Fraction(5))
    play(ledger, [0])
    embed(ledger, 0)
    ledger.pass_over(4, captured_at=at(4, Fraction(5)))

    settled = ledger.take()

    assert summary(settled) == ([0], [("corrupt", range(1, 4))])
    assert settled.gaps[0].captured_to == ledger.end_at == at(4, Fraction(5))


def test_a_sample_that_was_dropped_gets_no_row_when_the_model_answers_late() -> None:
    ledger = SlotLedger(session(), rate_hz=Fraction(5))
    play(ledger, range(2))

    assert ledger.drop_pending() == 2
    assert not embed(ledger, 0)
    assert summary(ledger.take()) == ([], [("dropped", range(2))])


@pytest.mark.parametrize("slot", [0, 3, 4], ids=["long-ago", "passed-over", "the-last-one"])
def test_a_slot_is_told_once(slot: int) -> None:
    ledger = SlotLedger(session(), rate_hz=Fraction(5))
    play(ledger, [0, 1, 4])

    assert not ledger.announce(slot, captured_at=NOON)
    assert ledger.end == 5


@pytest.mark.parametrize("rate_hz", [Fraction(1), Fraction(25, 2), Fraction(30000, 1001), Fraction(1, 60)], ids=str)
@pytest.mark.parametrize("time_base", [Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 25)], ids=str)
def test_the_pts_of_edges_part_the_frames_of_slots(rate_hz: Fraction, time_base: Fraction) -> None:
    start = 12_345
    ledger = SlotLedger(session(time_base, start), rate_hz=rate_hz)
    for slot in range(1, 50):
        edge = ledger.first_pts(slot)
        slots = [
            slot_of((pts - start) * time_base, allowance=allowance_of(time_base), rate_hz=rate_hz)
            for pts in (edge - 1, edge)
        ]
        assert slots[0] < slot <= slots[1]
    assert ledger.first_pts(0) == start


def test_the_wall_clock_of_a_gap_reaches_from_its_first_slot_to_the_next_one() -> None:
    rate_hz = Fraction(30000, 1001)
    ledger = SlotLedger(session(), rate_hz=rate_hz)
    play(ledger, range(100), rate_hz=rate_hz)
    ledger.missed(range(10, 40), GapReason.DROPPED)
    for slot in (*range(10), *range(40, 100)):
        embed(ledger, slot)

    (gap,) = ledger.take().gaps

    assert gap.captured_from == at(10, rate_hz)
    assert abs(gap.captured_to - at(40, rate_hz)) <= timedelta(microseconds=1)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_slot_is_told_exactly_once(seed: int) -> None:
    chance, rate_hz = random.Random(seed), Fraction(25, 2)
    ledger = SlotLedger(session(), rate_hz=rate_hz)
    told: Counter[int] = Counter()
    waiting: list[int] = []

    def take() -> None:
        rows, gaps = summary(ledger.take(), rate_hz)
        told.update(rows)
        for _, slots in gaps:
            told.update(slots)

    slot = 0
    for _ in range(300):
        slot += chance.choice([0, 1, 1, 1, 1, 2, 7])
        if ledger.announce(slot, captured_at=at(slot, rate_hz)):
            waiting.append(slot)
        chance.shuffle(waiting)
        for one in waiting[: chance.randrange(3)]:
            if chance.random() < 0.6:
                embed(ledger, one)
            else:
                ledger.missed([one], chance.choice(list(GapReason)))
        if chance.random() < 0.1:
            take()
    ledger.pass_over(ledger.end + chance.randrange(4), captured_at=at(ledger.end + 4, rate_hz))
    ledger.drop_pending()
    take()

    assert told == Counter(range(ledger.end))
