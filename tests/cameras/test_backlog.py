"""What nobody has read yet is bounded, and says what it lacks."""

import time
from fractions import Fraction

import msgspec
import numpy as np
import pytest

from pipeline.cameras.pulling.backlog import Backlog
from pipeline.cameras.pulling.pulled import Ended, EndReason, Frame, PullLimits, Recorded
from pipeline.media.live.messages import FrameCame, PartRecorded, SessionBegan, read_event, written
from pipeline.media.process.wire import Nonsense

PICTURE_BYTES = 8 * 8 * 3


def frame(number: int, *, slot: int | None = None, has_picture: bool = False) -> Frame:
    return Frame(
        pts=number,
        time_s=Fraction(number, 25),
        is_keyframe=False,
        is_corrupt=False,
        arrived_at=time.time(),
        luma=np.zeros((4, 8), np.uint8),
        slot=slot,
        detect=False,
        picture=np.zeros((8, 8, 3), np.uint8) if has_picture else None,
    )


def part(number: int, *, is_first: bool = False) -> Recorded:
    return Recorded(data=bytes([number]) * 100, is_first=is_first, start_time_s=0, end_time_s=0)


def test_the_newest_pictures_win_and_no_slot_is_lost() -> None:
    backlog = Backlog(PullLimits(max_picture_bytes=3 * PICTURE_BYTES))
    for number in range(10):
        backlog.put(frame(number, slot=number, has_picture=True))
    frames = [backlog.get(0) for _ in range(10)]

    assert [each.slot for each in frames if isinstance(each, Frame)] == list(range(10))
    assert [each.is_dropped for each in frames if isinstance(each, Frame)] == [True] * 7 + [False] * 3


def test_pictures_may_be_large_but_two_are_kept() -> None:
    backlog = Backlog(PullLimits(max_picture_bytes=1))
    for number in range(4):
        backlog.put(frame(number, slot=number, has_picture=True))
    frames = [backlog.get(0) for _ in range(4)]

    assert [each.is_dropped for each in frames if isinstance(each, Frame)] == [True, True, False, False]


def test_nobody_reads_for_long_and_every_slot_is_still_told() -> None:
    backlog = Backlog(PullLimits())
    for number in range(5000):
        backlog.put(frame(number, slot=number // 25 if number % 25 == 0 else None))
    found = []
    while (item := backlog.get(0)) is not None:
        found.append(item)

    assert [each.slot for each in found if isinstance(each, Frame) and each.slot is not None] == list(range(200))
    assert len(found) < 900


def test_once_a_part_of_a_recording_is_lost_so_is_the_rest_of_its_file() -> None:
    backlog = Backlog(PullLimits(max_recorded_bytes=350))
    for number in range(6):
        backlog.put(part(number, is_first=number == 0))
    kept = [backlog.get(0) for _ in range(3)]
    backlog.put(part(6))
    backlog.put(part(7, is_first=True))
    kept.append(backlog.get(0))

    assert [each.data[0] for each in kept if isinstance(each, Recorded)] == [0, 1, 2, 7]
    assert backlog.get(0) is None


def test_reading_waits_no_longer_than_it_is_told_to() -> None:
    backlog = Backlog(PullLimits())
    began = time.monotonic()
    assert backlog.get(0.1) is None
    assert 0.09 < time.monotonic() - began < 30


def test_after_the_end_there_is_only_the_end() -> None:
    backlog = Backlog(PullLimits())
    end = Ended(reason=EndReason.CLOSED, detail="")
    backlog.put(frame(0))
    backlog.put(end)
    backlog.put(frame(1))

    assert isinstance(backlog.get(0), Frame)
    assert [backlog.get(0) for _ in range(3)] == [end] * 3


FRAME = FrameCame(
    pts=0,
    time_s=Fraction(0),
    is_keyframe=True,
    is_corrupt=False,
    arrived_at=0.0,
    luma=b"1234",
    luma_shape=(2, 2),
    slot=0,
    detect=False,
    place=None,
    picture_shape=None,
)
BEGAN = SessionBegan(
    codec="h264",
    container="rtsp",
    time_base=Fraction(1, 90_000),
    start_pts=0,
    width=96,
    height=64,
    rotation=0,
    pix_fmt="yuv420p",
    why="connected",
)
PART = PartRecorded(data=b"x", is_first=True, start_time_s=0.0, end_time_s=1.0)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(msgspec.structs.replace(FRAME, arrived_at=1e300), id="far-future"),
        pytest.param(msgspec.structs.replace(FRAME, arrived_at=float("nan")), id="no-time"),
        pytest.param(msgspec.structs.replace(FRAME, luma_shape=(3, 2)), id="other-shape"),
        pytest.param(msgspec.structs.replace(FRAME, luma=b"", luma_shape=(0, 9)), id="no-luma"),
        pytest.param(msgspec.structs.replace(FRAME, luma=bytes(1 << 20), luma_shape=(1024, 1024)), id="large-luma"),
        pytest.param(msgspec.structs.replace(FRAME, time_s=Fraction(-1)), id="before-the-first"),
        pytest.param(msgspec.structs.replace(FRAME, pts=1 << 63), id="pts-of-more-than-64-bits"),
        pytest.param(msgspec.structs.replace(FRAME, slot=-1), id="slot-below-zero"),
        pytest.param(msgspec.structs.replace(BEGAN, time_base=Fraction(0)), id="no-time-base"),
        pytest.param(msgspec.structs.replace(BEGAN, time_base=Fraction(1, 1 << 40)), id="fine-time-base"),
        pytest.param(msgspec.structs.replace(BEGAN, width=1 << 31), id="wide"),
        pytest.param(msgspec.structs.replace(BEGAN, codec="x" * 1000), id="long-name"),
        pytest.param(msgspec.structs.replace(PART, end_time_s=float("inf")), id="endless-part"),
    ],
)
def test_what_a_decoder_cannot_mean_is_not_believed(event: FrameCame | SessionBegan | PartRecorded) -> None:
    with pytest.raises(Nonsense):
        read_event(written(event))


def test_what_it_can_mean_is() -> None:
    for event in (msgspec.structs.replace(FRAME, arrived_at=time.time()), BEGAN, PART):
        assert read_event(written(event)) == event
