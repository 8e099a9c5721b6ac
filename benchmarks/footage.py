"""The clips that are measured: a user's archive, or synthesised ones of the same shape."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

HALF_MINUTE_S = 30
_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".ts"}


def videos_of(archive: Path) -> list[Path]:
    """The archive's files, sorted."""
    return sorted(path for path in archive.iterdir() if path.suffix in _SUFFIXES)


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its best video stream."""
    with av.open(str(path), "r", **options) as container:
        yield cast(InputContainer, container), cast(VideoStream, container.streams.best("video"))


def synthesise(folder: Path, *, num_clips: int = 3, seconds: int = HALF_MINUTE_S) -> Path:
    """1280x720 x264 as archives hold it (preset medium, crf 23, GOP 250); made once."""
    archive = folder / f"of_{seconds}_s"
    archive.mkdir(parents=True, exist_ok=True)
    for number in range(num_clips):
        clip = archive / f"clip_{number}.mp4"
        if not clip.exists():
            print(f"  synthesising {clip}", flush=True)
            partial = clip.with_suffix(".part")
            encode(partial, seed=number, num_frames=30 * seconds)
            partial.rename(clip)
    return archive


def encode(path: Path, *, seed: int, num_frames: int) -> None:
    """A clip of 30 frames a second: a scene that the camera pans over, and a square of noise that moves."""
    rng = np.random.default_rng(seed)
    scene = av.VideoFrame.from_ndarray(rng.integers(0, 256, (45, 80, 3), np.uint8), format="rgb24")
    wide = scene.reformat(1920, 1080, interpolation="BICUBIC").to_ndarray()
    with av.open(str(path), "w", format="mp4") as out:
        options = {"preset": "medium", "crf": "23", "g": "250"}
        stream = out.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(num_frames):
            left, top = round(320 + 300 * np.sin(number / 90)), round(180 + 170 * np.cos(number / 70))
            picture = wide[top : top + 720, left : left + 1280].copy()
            spot = int(number * 7 % 1100)
            picture[300:420, spot : spot + 120] = rng.integers(0, 256, (120, 120, 1), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def copies_of(archive: Path, count: int, folder: Path) -> Path:
    """A folder with ``count`` hard links to every file, or copies on another file system."""
    copies = folder / f"copies_{count}"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir(parents=True)
    for path in videos_of(archive):
        for number in range(count):
            link(path, copies / f"{path.stem}_{number}{path.suffix}")
    return copies


def half_minutes(archive: Path, folder: Path) -> Path:
    """Every file of the archive as one of half a minute, or up to a GOP more: itself where it has that length."""
    halves = folder / "half_minutes"
    halves.mkdir(parents=True, exist_ok=True)
    for path in videos_of(archive):
        with opened(path) as (container, _):
            seconds = Fraction(container.duration or 0, av.time_base)
        target = halves / path.name
        if abs(seconds - HALF_MINUTE_S) < 1:
            link(path, target)
        else:
            repeated(path, target, seconds=HALF_MINUTE_S)
    return halves


def files_of(archive: Path, count: int, folder: Path) -> Path:
    """A folder of ``count`` files: the archive's in turn, again and again."""
    chosen = folder / f"files_{count}"
    if not chosen.exists():
        chosen.mkdir(parents=True)
        sources = videos_of(archive)
        for number in range(count):
            source = sources[number % len(sources)]
            link(source, chosen / f"{number:05d}_{source.name}")
    return chosen


def tiny_clip(path: Path) -> Path:
    """A second of 64x64 H.264: next to nothing to decode."""
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 5)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def link(source: Path, target: Path) -> None:
    """A hard link where the file system has them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def repeated(source: Path, target: Path, *, seconds: float) -> Path:
    """``source`` again and again, its packets as they are, until it lasts ``seconds``."""
    with av.open(str(target), "w") as out:
        copy, shift, end = None, 0, Fraction(0)
        while end < seconds:
            with opened(source) as (container, stream):
                copy = copy or out.add_stream_from_template(stream)
                last = 0
                for packet in container.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    last = max(last, packet.pts + (packet.duration or 1))
                    end = (shift + last) * cast(Fraction, stream.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copy
                    out.mux(packet)
                    if end >= seconds and packet.is_keyframe:
                        break
                shift += last
    return target
