"""Still pictures: what Pillow reads, upright, within limits, and never more than an ``InputError``."""

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from serving import encoded, noise

from pipeline.errors import Corrupt, TooLarge
from serve.inference.stills import decode_still, is_still

LIMIT = 1_000_000


def decoded(data: bytes, *, max_pixels: int = LIMIT) -> NDArray[Any]:
    return decode_still(data, uri="posted", max_pixels=max_pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_pictures_come_out_as_they_went_in(kind: str) -> None:
    data = encoded(noise(), kind)
    assert is_still(data[:16])
    assert (decoded(data) == noise()).all()


def test_jpeg_comes_out_as_pillow_reads_it() -> None:
    data = encoded(noise(), "JPEG", quality=90)
    assert is_still(data[:16])
    assert (decoded(data) == np.asarray(Image.open(io.BytesIO(data)))).all()


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(encoded(noise(height=20, width=50), "JPEG", exif=exif)).shape == (50, 20, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    out = io.BytesIO()
    Image.fromarray(noise()).convert(mode).save(out, "JPEG" if mode == "CMYK" else "PNG")
    pixels = decoded(out.getvalue())
    assert pixels.shape == (90, 120, 3)
    assert pixels.dtype == np.uint8


def test_sixteen_bits_of_grey_are_scaled_not_clipped() -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8040, np.uint16)).save(out, "PNG")
    assert (decoded(out.getvalue()) == 0x80).all()


def test_pixel_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000)))]
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        png += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    with pytest.raises(TooLarge, match="100000 x 100000"):
        decoded(png)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_cut_picture_is_corrupt(kind: str, part: float) -> None:
    data = encoded(noise(), kind)
    with pytest.raises(Corrupt):
        decoded(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 50, b"%PDF-1.4", b"\0" * 500, b"BM" + b"\xff" * 60])
def test_what_is_no_such_picture_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decoded(data)


def test_mutated_pictures_decode_or_are_corrupt() -> None:
    random = np.random.default_rng(7)
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        whole = np.frombuffer(encoded(noise(height=30, width=40), kind), np.uint8)
        for _ in range(100):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 5)] = random.integers(0, 256, 5)
            with contextlib.suppress(Corrupt, TooLarge):
                assert decoded(damaged.tobytes()).shape[2] == 3
