"""A still picture from the bytes of a JPEG, PNG, WebP or BMP, upright, and never larger than allowed."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import Corrupt, TooLarge

SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "BMP": b"BM"}
_FORMATS = (*SIGNATURES, "WEBP")
# What Pillow's readers raise over damage.
_UNDECODABLE = (OSError, SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, struct.error)

Image.MAX_IMAGE_PIXELS = None  # each request's own limit counts, and not a warning


def is_still(head: bytes) -> bool:
    """Whether a body that begins so is a picture that ``decode_still`` reads; the first 16 bytes tell."""
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_webp or any(head.startswith(signature) for signature in SIGNATURES.values())


def decode_still(data: bytes, *, uri: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode the first picture of a file, RGB ``uint8[h, w, 3]``, turned as its EXIF orientation says.

    Raises:
        TooLarge: the header announces more than ``max_pixels`` pixels; nothing was decoded.
        Corrupt: it does not decode.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise TooLarge(uri, f"{width} x {height} is more than {max_pixels} pixels")
            return _rgb(ImageOps.exif_transpose(picture))
    except _UNDECODABLE as error:
        raise Corrupt(uri, f"not a picture that decodes ({_plainly(error)})") from None


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip rather than scale
        grey = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def _plainly(error: Exception) -> str:
    """Pillow's own words, unless they quote the file object."""
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return type(error).__name__ if "<" in words else words[:120]
