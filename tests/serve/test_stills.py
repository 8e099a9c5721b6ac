"""Still pictures: what Pillow reads, upright, within limits, and never more than an ``InputError``."""

import contextlib
import io
import os
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sandboxes import BytesReader, job
from serving import encoded, noise, serving
from videos import video_bytes

from pipeline.errors import Corrupt, Crashed, Killed, OutOfMemory, TimedOut, TooLarge
from pipeline.media.process.sandbox import Picture, Sandbox
from pipeline.media.process.still_sandbox import StillSandbox
from pipeline.models.preprocess import prepare, prepare_part
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Sizing
from pipeline.stages.decode import decode_video
from serve.inference.stills import StillDecoders, is_still
from serve.settings import Limits

WANTED = Preprocessing(resize_px=48, crop_px=(40, 40))
LIMITS = DecodeLimits(max_pixels=1_000_000, timeout_s=30)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[StillSandbox]:
    with StillSandbox(LIMITS) as sandbox:
        yield sandbox


Decoded = Callable[[bytes], NDArray[np.uint8]]


@pytest.fixture
def decoded(sandbox: StillSandbox) -> Decoded:
    """A picture's pixels, as the confined decoder gives them."""
    return lambda data: sandbox.decode(BytesReader(data)).pixels.copy()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_pictures_come_out_as_they_went_in(kind: str, decoded: Decoded) -> None:
    data = encoded(noise(), kind)
    assert is_still(data[:16])
    assert (decoded(data) == noise()).all()


def test_jpeg_comes_out_as_pillow_reads_it(decoded: Decoded) -> None:
    data = encoded(noise(), "JPEG", quality=90)
    assert is_still(data[:16])
    assert (decoded(data) == np.asarray(Image.open(io.BytesIO(data)))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int, decoded: Decoded) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(height=20, width=50), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert expected.shape == ((50, 20, 3) if orientation > 4 else (20, 50, 3))
    assert np.array_equal(decoded(data), expected)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb_as_pillow_makes_it(mode: str, decoded: Decoded) -> None:
    out = io.BytesIO()
    picture = Image.fromarray(noise()).convert("P" if mode == "PA" else mode)
    transparent = {"transparency": bytes(range(256))} if mode == "PA" else {}
    picture.save(out, "JPEG" if mode == "CMYK" else "PNG", **transparent)
    pixels = decoded(out.getvalue())
    assert np.array_equal(pixels, np.asarray(Image.open(out).convert("RGB")))
    assert pixels.shape == (90, 120, 3)


def test_sixteen_bits_of_grey_are_scaled_not_clipped(decoded: Decoded) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8040, np.uint16)).save(out, "PNG")
    assert (decoded(out.getvalue()) == 0x80).all()


def test_sixteen_bits_take_no_more_memory_than_a_few_times_their_pixels() -> None:
    """Widened to 64 bits before they were narrowed, these took 16 bytes a pixel."""
    grey = np.arange(5000, dtype=np.uint16) * 13
    out = io.BytesIO()
    Image.fromarray(np.broadcast_to(grey, (4000, 5000)).copy()).save(out, "PNG", compress_level=1)
    before = 100 << 20  # numpy, Pillow and the file
    limits = DecodeLimits(max_pixels=20_000_000, memory_bytes=before + 6 * 20_000_000)
    with StillSandbox(limits) as sandbox:
        pixels = sandbox.decode(BytesReader(out.getvalue())).pixels
        assert (pixels == (grey >> 8).astype(np.uint8)[None, :, None]).all()


@pytest.mark.parametrize("size", [(160, 90), (90, 160), (98, 62), (30, 20)])
def test_the_part_that_travels_gives_the_same_input_as_the_whole(size: tuple[int, int], sandbox: StillSandbox) -> None:
    data = encoded(noise(width=size[0], height=size[1]))
    whole = sandbox.decode(BytesReader(data)).pixels.copy()
    part = sandbox.decode(BytesReader(data), preprocessings=(WANTED,))
    made = np.empty((40, 40, 3), np.uint8)
    prepare_part(part.pixels, whole_px=part.whole_px, preprocessing=WANTED, into=made)
    assert np.array_equal(made, prepare(whole, preprocessing=WANTED))


def test_picture_of_a_frame_is_the_input_that_the_job_makes_of_the_frame() -> None:
    reader = BytesReader(video_bytes(num_frames=30, size=(160, 90)))
    with Sandbox(DecodeLimits()) as sandbox:
        plan = sandbox.plan(reader, job(), sizing=Sizing())
        events = sandbox.decode(reader, job(), facts=plan.facts, segments=plan.segments)
        frames = [event.pixels.copy() for event in events if isinstance(event, Picture)]
        decoded = decode_video(
            sandbox, reader, job(), facts=plan.facts, segments=plan.segments, preprocessings=(WANTED,)
        )
        samples = np.concatenate([segment.pixels[0] for segment in decoded])
    decoders = StillDecoders(Limits(), preprocessing=WANTED)
    posted = [decoders.prepared(encoded(frame)) for frame in frames]
    decoders.close()
    assert len(posted) == 6
    assert np.array_equal(np.concatenate(posted), samples)


def test_decoder_that_dies_costs_one_picture() -> None:
    """Whatever happens to it: the next picture gets a new process."""
    data = encoded(noise())
    large = encoded(noise(height=4000, width=4000), "BMP")
    with StillSandbox(DecodeLimits(memory_bytes=120 << 20)) as sandbox:
        with pytest.raises(OutOfMemory):
            sandbox.decode(BytesReader(large))
        assert sandbox.pid is None
        assert np.array_equal(sandbox.decode(BytesReader(data)).pixels, noise())
        os.kill(sandbox.pid or 0, signal.SIGKILL)
        with pytest.raises(Killed):
            sandbox.decode(BytesReader(data))
        assert np.array_equal(sandbox.decode(BytesReader(data)).pixels, noise())


def test_picture_that_takes_too_much_memory_is_refused_and_the_next_is_answered() -> None:
    with serving(limits=Limits(decode_memory_bytes=120 << 20)) as live:
        refused = live.post("/v1/embed", encoded(noise(height=4000, width=4000), "BMP"), "image/bmp")
        answered = live.post("/v1/embed", encoded(noise()))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "out_of_memory")
    assert answered.status_code == 200


@pytest.mark.parametrize(
    "entry", ["segfault", "hang_in_c", "paint_outside", "draw_outside", "draw_a_part", "raise_error"]
)
def test_decoder_that_is_taken_over_gives_no_picture(entry: str) -> None:
    limits = DecodeLimits(max_pixels=1_000_000, timeout_s=1)
    with StillSandbox(limits, entry=f"hostile_decoders:{entry}") as sandbox:
        with pytest.raises((Crashed, TimedOut)):
            sandbox.decode(BytesReader(encoded(noise())))
        assert sandbox.pid is None


@pytest.fixture
def decoders() -> Iterator[StillDecoders]:
    decoders = StillDecoders(Limits(), preprocessing=WANTED)
    yield decoders
    decoders.close()


def test_pictures_are_decoded_side_by_side(decoders: StillDecoders) -> None:
    pictures = [noise(seed=seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as threads:
        made = [prepared[0] for prepared in threads.map(decoders.prepared, map(encoded, pictures))]
    assert np.array_equal(made, [prepare(picture, preprocessing=WANTED) for picture in pictures])


def test_picture_whose_decoder_somebody_killed_is_decoded_by_another(decoders: StillDecoders) -> None:
    others = set(psutil.Process().children())
    decoders.start()
    [decoder] = set(psutil.Process().children()) - others
    decoder.kill()
    assert np.array_equal(decoders.prepared(encoded(noise()))[0], prepare(noise(), preprocessing=WANTED))


def test_pixel_bomb_is_refused_by_its_header(decoded: Decoded) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000)))]
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        png += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    with pytest.raises(TooLarge, match="100000 x 100000"):
        decoded(png)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_cut_picture_is_corrupt(kind: str, part: float, decoded: Decoded) -> None:
    data = encoded(noise(), kind)
    with pytest.raises(Corrupt):
        decoded(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 50, b"%PDF-1.4", b"\0" * 500, b"BM" + b"\xff" * 60])
def test_what_is_no_such_picture_is_corrupt(data: bytes, decoded: Decoded) -> None:
    with pytest.raises(Corrupt):
        decoded(data)


def test_mutated_pictures_decode_or_are_corrupt(decoded: Decoded) -> None:
    random = np.random.default_rng(7)
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        whole = np.frombuffer(encoded(noise(height=30, width=40), kind), np.uint8)
        for _ in range(100):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 5)] = random.integers(0, 256, 5)
            with contextlib.suppress(Corrupt, TooLarge):
                assert decoded(damaged.tobytes()).shape[2] == 3
