"""Decode picked frames of a file with other libraries, one thread each, with the settings that suit them best.

Every function takes a path, the numbers of the frames to give (in presentation order, counted from 0; handed over for
nothing, which is in the peers' favour), and where a peer resizes by itself the size to resize to. It yields RGB
``uint8[h, w, 3]``.
"""

import ctypes
import importlib
import importlib.util
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width."""

_AT_ONCE = 16
"""Frames that batch interfaces are asked for at a time; more only take memory."""
_MOST_AT_ONCE = 256
"""Frames of 720p that fit into memory together."""


def pyav(path: Path, picks: Sequence[int], *, is_keyframes: bool, size: Size | None) -> Iterator[Picture]:
    """PyAV's loop, with one scaler for all frames."""
    import av
    from av.video.reformatter import VideoReformatter

    wanted = set(picks)
    scaler = VideoReformatter()
    height, width = size or (None, None)
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        if is_keyframes:
            stream.codec_context.skip_frame = "NONKEY"
        for number, frame in enumerate(container.decode(stream)):
            if is_keyframes or number in wanted:
                rgb = scaler.reformat(frame, width=width, height=height, format="rgb24", threads=1)
                yield rgb.to_ndarray()
            if not is_keyframes and number == picks[-1]:
                return


def opencv(path: Path, picks: Sequence[int], *, is_keyframes: bool, size: Size | None) -> Iterator[Picture]:
    """OpenCV: every frame grabbed, those that are picked retrieved."""
    import cv2

    del is_keyframes  # it has no such mode
    cv2.setNumThreads(1)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted = set(picks)
    for number in range(picks[-1] + 1):
        video.grab()
        if number in wanted:
            _, bgr = video.retrieve()
            if size is not None:
                bgr = cv2.resize(bgr, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    video.release()


def decord(path: Path, picks: Sequence[int], *, is_keyframes: bool, size: Size | None) -> Iterator[Picture]:
    """decord2's reader (the module is called decord), which seeks to what it is asked for."""
    import decord as library

    del is_keyframes
    height, width = size or (-1, -1)
    reader = library.VideoReader(str(path), num_threads=1, width=width, height=height)
    for numbers in _batches(picks):
        yield from reader.get_batch(numbers).asnumpy()


def video_reader_rs(path: Path, picks: Sequence[int], *, is_keyframes: bool, size: Size | None) -> Iterator[Picture]:
    """video-reader-rs: asked for all picks at once, it chooses between seeking and reading on; else frame by frame."""
    video_reader = video_reader_module()
    del is_keyframes
    height, width = size or (None, None)
    even = {"target_height": height, "target_width": width and width + width % 2}  # it refuses odd sizes
    reader = video_reader.PyVideoReader(str(path), threads=1, **even)
    if len(picks) <= _MOST_AT_ONCE:
        yield from reader.get_batch(list(picks))
        return
    wanted = set(picks)
    for number, frame in enumerate(reader):
        if number in wanted:
            yield frame
        if number == picks[-1]:
            return


def video_reader_module() -> Any:
    """The module of video-reader-rs; its wheel holds a library that its own loader does not find.

    Raises:
        ImportError: it is not installed.
    """
    spec = importlib.util.find_spec("video_reader")
    if spec is None or spec.origin is None:
        raise ImportError("No module named 'video_reader'")
    for library in (Path(spec.origin).parents[1] / "video_reader_rs.libs").glob("libsharpyuv*"):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    return importlib.import_module("video_reader")


def torchcodec(path: Path, picks: Sequence[int], *, is_keyframes: bool, size: Size | None) -> Iterator[Picture]:
    """torchcodec's decoder, which seeks to what it is asked for."""
    from torchcodec.decoders import VideoDecoder

    del is_keyframes
    options: dict[str, Any] = {}
    if size is not None:
        from torchvision.transforms import v2

        options["transforms"] = [v2.Resize(size)]
    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, **options)
    for numbers in _batches(picks):
        yield from decoder.get_frames_at(numbers).data.numpy()


def ffmpeg(path: Path, picks: Sequence[int], *, is_keyframes: bool, size: Size | None) -> Iterator[Picture]:
    """The command line, which hands over raw pictures through a pipe."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        source = stream.codec_context.height, stream.codec_context.width
        index = stream.index
    steps = {after - before for before, after in pairwise(picks)} or {1}
    filters = []
    if not is_keyframes and steps != {1}:
        # An expression for every one where they are not evenly spaced.
        chosen = f"not(mod(n,{steps.pop()}))" if len(steps) == 1 else "+".join(f"eq(n,{number})" for number in picks)
        filters.append(f"select='{chosen}'")
    if size is not None:
        filters.append(f"scale={size[1]}:{size[0]}:flags=bilinear")
    height, width = size or source
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1"]
    command += ["-skip_frame", "nokey"] if is_keyframes else []
    command += ["-i", str(path), "-map", f"0:{index}", "-fps_mode", "passthrough"]
    command += ["-vf", ",".join(filters)] if filters else []
    command += ["-frames:v", str(len(picks)), "-f", "rawvideo", "-pix_fmt", "rgb24", "-threads", "1", "pipe:"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while data := process.stdout.read(height * width * 3):
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A way to decode."""

    frames: Callable[..., Iterator[Picture]]
    needs: str
    """What is imported to see whether it is there."""
    program: str | None = None
    """What has to be on the path besides."""
    resizes: bool = True
    """Whether its own way to resize is measured as well."""


PEERS = {
    "PyAV loop": Peer(frames=pyav, needs="av"),
    "OpenCV loop": Peer(frames=opencv, needs="cv2"),
    "decord2": Peer(frames=decord, needs="decord"),
    "torchcodec": Peer(frames=torchcodec, needs="torchcodec.decoders"),
    "video-reader-rs": Peer(frames=video_reader_rs, needs="benchmarks.peers.decoders as it; it.video_reader_module()"),
    "ffmpeg": Peer(frames=ffmpeg, needs="av", program="ffmpeg", resizes=False),
}


def _batches(picks: Sequence[int]) -> Iterator[list[int]]:
    numbers = iter(picks)
    while batch := list(islice(numbers, _AT_ONCE)):
        yield batch
