"""Thumbnails as JPEG files: how large one is, and its encoding, which is Pillow's.

It runs in the process that the decoder belongs to and not in the decoder itself, which is kept to what it needs to
decode. Resizing is the models' own: torch does it five times as fast.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.records.segments import Thumbnail
from pipeline.records.thumbnails import JPEG_QUALITY


def thumbnail_size(height_px: int, width_px: int, *, longest_px: int) -> tuple[int, int]:
    """Height and width of the thumbnail of a picture; it is never larger than the picture."""
    scale = min(1.0, longest_px / max(height_px, width_px))
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def encoded(pixels: NDArray[np.uint8]) -> Thumbnail:
    """A picture as a JPEG.

    Args:
        pixels: RGB, upright, ``uint8[h, w, 3]``, of the size that ``thumbnail_size`` gives.

    Returns:
        The file, of the quality that all thumbnails have; the same pixels give the same bytes.
    """
    height, width = pixels.shape[:2]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return Thumbnail(width=width, height=height, jpeg=file.getvalue())
