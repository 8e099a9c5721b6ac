"""Which frames a rule picks: exact, free of drift, and the same however the video is cut."""

import math
import pickle
import random
from collections.abc import Sequence
from fractions import Fraction

import pytest

from pipeline.errors import UsageError
from pipeline.media.sampling.footage import uniform_targets
from pipeline.media.sampling.fps import FpsRule, slot_of
from pipeline.media.sampling.pickers import Tick, allowance_of
from pipeline.media.sampling.rule import SamplingRule, picker_for
from pipeline.media.sampling.rules import AllRule, EveryRule, KeyframesRule, UniformRule, parse_rule
from pipeline.media.sampling.succession import Succession
from pipeline.records.segments import Window

EVERYTHING = Window(first=0, end=None)


def ticks(
    times: Sequence[float | Fraction],
    *,
    keyframes: frozenset[int] = frozenset(),
    time_base: Fraction = Fraction(0),
) -> list[Tick]:
    return [
        Tick(
            time=Fraction(time).limit_denominator(10**6),
            position=place,
            is_keyframe=place in keyframes,
            allowance=allowance_of(time_base),
        )
        for place, time in enumerate(times)
    ]


def rounded(rate_hz: Fraction, *, time_base: Fraction, num_frames: int) -> list[Fraction]:
    """The times of a steady video's frames, as a container of this time base stores them."""
    return [round(number / rate_hz / time_base) * time_base for number in range(num_frames)]


def picked(rule: str, frames: list[Tick], *, window: Window = EVERYTHING, **options: object) -> list[int]:
    picker = picker_for(parse_rule(rule), window=window, **options)  # type: ignore[arg-type]
    return [tick.position for tick in frames if picker.wants(tick)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("fps:1", FpsRule(Fraction(1)), id="whole-rate"),
        pytest.param("fps:0.2", FpsRule(Fraction(1, 5)), id="decimal-rate-is-exact"),
        pytest.param("fps:30000/1001", FpsRule(Fraction(30000, 1001)), id="ntsc-rate"),
        pytest.param("every:7", EveryRule(7), id="every"),
        pytest.param("all", AllRule(), id="all"),
        pytest.param("keyframes", KeyframesRule(), id="keyframes"),
        pytest.param("uniform:9", UniformRule(9), id="uniform"),
    ],
)
def test_rule_is_read_and_written_back(text: str, rule: SamplingRule) -> None:
    assert parse_rule(text) == rule
    assert parse_rule(str(rule)) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


@pytest.mark.parametrize(
    "text",
    ["", "fps", "fps:", "fps:0", "fps:-1", "fps:1/0", "fps:1e3", "fps:nan", "every:0", "every:1.5", "every:x", "all:1",
     "keyframes:2", "all:", "uniform:0", "uniform:1/2", "fps:1 ", "FPS:1", "fps:²", "every:10000000",
     "fps:" + "9" * 5000, "uniform:" + "9" * 5000],
)  # fmt: skip
def test_bad_rule_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="bad sampling rule") as caught:
        parse_rule(text)
    assert "\n" not in str(caught.value)
    assert "use fps:R, every:N, all, keyframes, uniform:N or shots:N with R, N > 0" in str(caught.value)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([0, 0.5, 1, 1.5, 2], [0, 2, 4], id="on-the-slot"),
        pytest.param([0, 0.9, 1.1, 1.9, 2.1], [0, 2, 4], id="first-frame-after-the-slot"),
        pytest.param([0, 0.1, 5.5, 5.6, 5.7, 6], [0, 2, 5], id="gap-does-not-burst"),
        pytest.param([0], [0], id="single-frame"),
        pytest.param([0, 3, 6, 9], [0, 1, 2, 3], id="slower-than-the-rate"),
    ],
)
def test_fps_takes_the_first_frame_of_each_slot(times: list[float | Fraction], expected: list[int]) -> None:
    assert picked("fps:1", ticks(times)) == expected


def test_fps_does_not_drift_over_ten_hours() -> None:
    frame = Fraction(1001, 30000)
    for number in (0, 1, 29, 30, 31, 1_078_920, 1_078_921):
        rate = Fraction(30000, 1001)
        assert slot_of(number * frame, allowance=Fraction(0), rate_hz=rate) == number


NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)
MATROSKA, MPEG_TS = Fraction(1, 1000), Fraction(1, 90_000)


@pytest.mark.parametrize(
    ("frame_rate_hz", "time_base"),
    [
        pytest.param(Fraction(30), MATROSKA, id="30-matroska"),
        pytest.param(NTSC, MATROSKA, id="29.97-matroska"),
        pytest.param(FILM, MATROSKA, id="23.976-matroska"),
        pytest.param(Fraction(120), MATROSKA, id="120-matroska"),
        pytest.param(Fraction(25), MPEG_TS, id="25-mpeg-ts"),
        pytest.param(FILM, MPEG_TS, id="23.976-mpeg-ts"),
        pytest.param(Fraction(30), Fraction(1, 600), id="30-quicktime"),
        pytest.param(Fraction(25), Fraction(1, 25), id="25-avi"),
    ],
)
def test_fps_at_the_rate_of_a_clip_takes_every_frame_however_its_container_rounds(
    frame_rate_hz: Fraction, time_base: Fraction
) -> None:
    frames = ticks(rounded(frame_rate_hz, time_base=time_base, num_frames=1000), time_base=time_base)
    assert picked(f"fps:{frame_rate_hz}", frames) == list(range(1000))
    assert picked(f"fps:{frame_rate_hz / 5}", frames) == list(range(0, 1000, 5))


def test_fps_gives_a_frame_half_a_millisecond_at_most() -> None:
    frames = ticks([Fraction(n, 25) for n in range(5)], time_base=Fraction(1, 25))
    assert picked("fps:24", frames) == [0, 2, 3, 4]  # 1/25 s and half a tick would be past 1/24 s
    assert picked("fps:10/3996", ticks([0, 399, 399.5, 399.599], time_base=Fraction(1))) == [0]
    assert picked("fps:10/3996", ticks([0, 399, 399.5995, 399.6], time_base=Fraction(1))) == [0, 2]


def test_fps_gap_in_rounded_times_gives_no_burst() -> None:
    times = rounded(Fraction(30), time_base=MATROSKA, num_frames=400)
    frames = ticks([*times[:100], *times[250:]], time_base=MATROSKA)
    assert picked("fps:30", frames) == list(range(250))
    assert picked("fps:6", frames) == list(range(0, 250, 5))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("every:3", [0, 3, 6, 9], id="every"),
        pytest.param("all", list(range(10)), id="all"),
        pytest.param("keyframes", [0, 4, 8], id="keyframes"),
    ],
)
def test_counting_rules(rule: str, expected: list[int]) -> None:
    assert picked(rule, ticks(list(range(10)), keyframes=frozenset({0, 4, 8}))) == expected


@pytest.mark.parametrize(
    ("positions", "count", "expected"),
    [
        pytest.param(range(0, 101, 10), 2, [30, 80], id="middles-of-halves"),
        pytest.param(range(0, 101, 10), 1, [50], id="middle"),
        pytest.param([5], 9, [5], id="one-frame-once"),
        pytest.param([0, 1, 2], 9, [1, 2], id="equal-picks-merge"),
        pytest.param([-100, -50, 0, 50], 3, [-50, 0, 50], id="negative-positions"),
        pytest.param([], 3, [], id="nothing"),
    ],
)
def test_uniform_takes_the_first_frame_at_or_after_each_middle(
    positions: list[int], count: int, expected: list[int]
) -> None:
    assert uniform_targets(positions, count=count) == expected


def test_targets_are_the_first_frames_at_or_after_them() -> None:
    frames = ticks([0, 1, 2, 3, 4, 5])
    assert picked("every:2", frames, targets=(0, 2, 4)) == [0, 2, 4]
    assert picked("every:2", frames[1:], targets=(0, 1)) == [1]


def test_range_keeps_the_picks_that_the_whole_video_has() -> None:
    frames = ticks([Fraction(n, 10) for n in range(60)])
    whole = picked("fps:1", frames)
    part = picked("fps:1", frames, start=Fraction(5, 2), end=Fraction(5))
    assert part == [place for place in whole if 25 <= place < 50]


@pytest.mark.parametrize("rule", ["fps:1", "fps:3", "fps:0.2", "fps:17/5", "every:7", "all", "keyframes"])
@pytest.mark.parametrize("seed", range(8))
def test_picks_do_not_depend_on_the_cut(rule: str, seed: int) -> None:
    rng = random.Random(seed)
    times, now = [], Fraction(0)
    for _ in range(300):
        times.append(now)
        now += Fraction(rng.choice([1, 3, 3, 3, 40, 700]), 90)
    keyframes = frozenset({0, *rng.sample(range(300), 40)})
    frames = ticks(list(times), keyframes=keyframes)
    parsed = parse_rule(rule)
    cuts = sorted(rng.sample(sorted(keyframes - {0}), 5))
    starts = [0, *cuts]
    if isinstance(parsed, FpsRule):
        starts = [math.ceil(frames[cut].time * parsed.rate_hz) for cut in starts]
    windows = [Window(first=start, end=end) for start, end in zip(starts, [*starts[1:], None], strict=True)]

    together: list[int] = []
    for window, first_frame in zip(windows, [0, *cuts], strict=True):
        together += picked(rule, frames[first_frame:], window=window)
    assert together == picked(rule, frames)

    in_one_pass = Succession([picker_for(parsed, window=window) for window in windows])
    assert [tick.position for tick in frames if in_one_pass.offer(tick) is not None] == together


@pytest.mark.parametrize("rule", ["fps:2", "every:3", "all", "keyframes"])
def test_picker_is_past_only_when_nothing_more_can_be_picked(rule: str) -> None:
    frames = ticks([Fraction(n, 7) for n in range(100)], keyframes=frozenset(range(0, 100, 9)))
    parsed = parse_rule(rule)
    for end in (1, 5, 20):
        picker = picker_for(parsed, window=Window(first=0, end=end))
        wanted_after_past = False
        is_past = False
        for tick in frames:
            is_past = is_past or picker.is_past(tick)
            wanted_after_past = wanted_after_past or (picker.wants(tick) and is_past)
        assert is_past
        assert not wanted_after_past
