"""Damaged videos: what decodes is kept, what is missing has a reason and a range, and a sound file is never blamed."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from media import Decoded, decode, extract, plan
from videos import X264, remuxed, sequential, video_bytes, written

from pipeline.errors import InputError
from pipeline.media.process.messages import Dropped, Ended
from pipeline.media.process.sandbox import Job, Picture, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Sizing, TimeRange
from pipeline.storage.schemes import open_reader

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "media" / "clips"
FAST = {"movflags": "frag_keyframe+empty_moov"}


def reasons(decoded: Decoded) -> list[str]:
    return [failure.reason for failure in decoded.failures]


def faststart(data: bytes, folder: Path) -> bytes:
    """The header in front."""
    path = str(folder / "faststart.mp4")
    with av.open(io.BytesIO(data), "r") as source, av.open(path, "w", options={"movflags": "faststart"}) as out:
        inside = source.streams.video[0]
        stream = out.add_stream_from_template(inside)
        for packet in source.demux(inside):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return Path(path).read_bytes()


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("rule", ["fps:5", "all", "uniform:9"])
def test_cut_mp4_keeps_its_first_part_and_is_truncated(share: float, rule: str, tmp_path: Path) -> None:
    whole = faststart(video_bytes(num_frames=200), tmp_path)
    decoded = extract(whole[: int(len(whole) * share)], rule, segment_s=0.8)
    sound = extract(whole, rule, segment_s=0.8)
    assert "truncated" in reasons(decoded)
    assert decoded.marks
    [last] = [failure for failure in decoded.failures if failure.reason == "truncated"]
    if rule != "uniform:9":
        before = [mark.pts for mark in sound.marks if mark.time_s < (last.missing_start_s or 0) - 0.2]
        assert set(before) <= set(decoded.pts)
    assert last.missing_end_s == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_cut_matroska_with_a_duration_is_truncated(share: float) -> None:
    whole = video_bytes(kind="matroska", num_frames=200)
    decoded = extract(whole[: int(len(whole) * share)], "fps:5", segment_s=0.8)
    assert decoded.marks
    assert set(reasons(decoded)) <= {"truncated", "corrupt"}
    assert reasons(decoded)


def test_what_lies_outside_the_asked_range_is_not_missing(tmp_path: Path) -> None:
    from fractions import Fraction

    whole = faststart(video_bytes(num_frames=200), tmp_path)
    cut = whole[: len(whole) // 2]
    early, late = TimeRange(end=Fraction(1)), TimeRange(start=Fraction(1), end=Fraction(6))
    assert not decode(cut, plan(cut, time_range=early), time_range=early).failures
    [failure] = decode(cut, plan(cut, time_range=late), time_range=late).failures
    assert failure.missing_end_s == pytest.approx(6.0)


def test_mp4_without_its_header_is_truncated() -> None:
    data = video_bytes()
    with pytest.raises(InputError) as caught:
        plan(data[: len(data) - 3000])
    assert caught.value.reason in ("truncated", "not_video")


def test_bad_stretch_costs_one_segment() -> None:
    spoilt = range(50, 70)
    data = remuxed(
        video_bytes(), kind="mp4", scrub=lambda packet, index: bytes(len(packet)) if index in spoilt else packet
    )
    planned = plan(data, "all", segment_s=0.8)
    decoded = decode(data, planned, "all")
    sound = extract(video_bytes(), "all", segment_s=0.8)
    [failure] = decoded.failures
    assert failure.reason == "corrupt"
    assert failure.missing_start_s is not None
    assert 1.5 < failure.missing_start_s < 2.9
    kept = set(decoded.pts)
    assert {mark.pts for mark in sound.marks if mark.time_s < 1.9 or mark.time_s >= 2.88} <= kept


def test_rotten_bits_show_as_corrupt_rows_or_a_failure() -> None:
    rng = random.Random(3)
    rotten = bytearray(video_bytes(num_frames=200, size=(320, 192)))
    for place in range(8000, len(rotten) - 20_000, 500):
        rotten[place + rng.randrange(500)] ^= 0xFF
    decoded = extract(bytes(rotten), "all", segment_s=0.8)
    assert decoded.marks
    assert any(mark.is_corrupt for mark in decoded.marks) or "corrupt" in reasons(decoded)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts"])
def test_garbage_behind_a_sound_video_changes_no_picture(kind: str) -> None:
    data = video_bytes(kind=kind)
    decoded = extract(data + random.Random(1).randbytes(5000), "every:9", segment_s=0.8)
    expected = [pixels for _, _, pixels in sequential(data)][::9]
    assert np.array_equal(decoded.pictures[: len(expected)], expected)


def test_stream_that_appears_half_way_does_not_stop_the_video() -> None:
    """PyAV 18.1 raises IndexError at the end of such a transport stream."""
    video = video_bytes(kind="mpegts", num_frames=50)
    file = io.BytesIO()
    with av.open(io.BytesIO(video_bytes(kind="mpegts", num_frames=50, first_picture=90)), "r") as source:
        inside = source.streams.video[0]
        with av.open(file, "w", format="mpegts", options={"mpegts_start_pid": "700"}) as out:
            stream = out.add_stream_from_template(inside)
            for packet in source.demux(inside):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    decoded = extract(video + file.getvalue(), "all")
    assert len(decoded.marks) >= 50


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
def test_real_sound_files_are_not_blamed() -> None:
    for path in sorted(CLIPS.iterdir()):
        decoded = extract(path.read_bytes(), "fps:1", segment_s=4)
        assert decoded.marks, path.name
        assert decoded.failures == [], path.name
        assert decoded.num_restarts == 0, path.name


SOURCES: dict[str, Callable[[], bytes]] = {
    "h264-mp4": lambda: video_bytes(num_frames=60),
    "h264-fragmented": lambda: video_bytes(num_frames=60, muxer=FAST),
    "h264-mkv": lambda: video_bytes(num_frames=60, kind="matroska"),
    "h264-ts": lambda: video_bytes(num_frames=60, kind="mpegts"),
    "mpeg2-ps": lambda: video_bytes("mpeg2video", {"g": "12", "bf": "2"}, num_frames=60, kind="mpeg"),
    "mpeg4-avi": lambda: video_bytes("mpeg4", {"g": "24", "bf": "2"}, num_frames=60, kind="avi"),
    "vp8-webm": lambda: video_bytes("libvpx", {"g": "24", "deadline": "realtime"}, num_frames=60, kind="webm"),
    "long-gop": lambda: video_bytes(options={**X264, "g": "500"}, num_frames=60),
}
ALLOWED = {"corrupt", "truncated", "not_video", "no_video_stream", "unsupported_codec", "too_large"}
# A damaged length makes FFmpeg ask for more memory than there is.
GRAVE = {"out_of_memory", "crashed", "timeout"}


def mutant(data: bytes, rng: random.Random) -> bytes:
    """Cut short, with bits flipped, a stretch zeroed, its head spoilt, bytes lost or foreign ones put in."""
    changed, size = bytearray(data), len(data)
    place, length = rng.randrange(size), rng.randrange(1, size // 5)
    kind = rng.randrange(6)
    if kind == 0:
        del changed[place:]
    elif kind == 1:
        for _ in range(size // rng.choice([200, 1000, 5000]) + 1):
            changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == 2:
        changed[place : place + length] = bytes(len(changed[place : place + length]))
    elif kind == 3:
        for _ in range(rng.randrange(1, 20)):
            changed[rng.randrange(min(size, 1500))] = rng.randrange(256)
    elif kind == 4:
        del changed[place : place + length]
    else:
        changed[place:place] = rng.randbytes(rng.randrange(1, 5000))
    return bytes(changed) or b"\0"


def outcome_of(sandbox: Sandbox, path: str, rule: str) -> set[str]:
    """The reasons that one video met; each segment must have ended once."""
    with open_reader(path) as reader:
        job = Job(uri=path, rule=parse_rule(rule), time_range=TimeRange())
        try:
            planned = sandbox.plan(reader, job, sizing=Sizing(duration_s=0.8))
            ended: list[Ended] = []
            held: dict[int, int] = {segment.index: 0 for segment in planned.segments}
            for event in sandbox.decode(reader, job, facts=planned.facts, segments=planned.segments):
                if isinstance(event, Picture):
                    held[event.segment] += 1
                elif isinstance(event, Dropped):
                    held[event.segment] = 0
                else:
                    ended.append(event)
        except InputError as error:
            return {error.reason}
    assert [event.segment for event in ended] == [segment.index for segment in planned.segments]
    failures = {event.segment: event.failure.reason for event in ended if event.failure}
    assert not any(held[segment] for segment, reason in failures.items() if reason not in ("corrupt", "truncated"))
    return set(failures.values())


def run_mutants(seed: int, count: int, folder: Path) -> list[set[str]]:
    rng = random.Random(seed)
    sources = {name: make() for name, make in SOURCES.items()}
    found = []
    with Sandbox(DecodeLimits(timeout_s=5, max_pixels=4_000_000)) as sandbox:
        for _ in range(count):
            name, rule = rng.choice(sorted(sources)), rng.choice(["all", "fps:3", "every:7", "uniform:9", "keyframes"])
            found.append(outcome_of(sandbox, written(folder, "mutant", mutant(sources[name], rng)), rule))
        assert not outcome_of(sandbox, written(folder, "sound", sources["h264-mp4"]), "all")
    return found


def test_mutants_get_a_reason_and_leave_the_decoder_usable(tmp_path: Path) -> None:
    found = run_mutants(1, 120, tmp_path)
    assert set().union(*found) <= ALLOWED | GRAVE
    assert sum(bool(reasons & GRAVE) for reasons in found) <= 3
    assert any(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 8))])
def test_many_mutants_get_a_reason(seed: int, tmp_path: Path) -> None:
    found = run_mutants(seed, 1000, tmp_path)
    assert set().union(*found) <= ALLOWED | GRAVE
    assert sum(bool(reasons & GRAVE) for reasons in found) <= 20
