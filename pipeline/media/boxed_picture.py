"""A picture as a JPEG for people to look at, with boxes drawn on it."""

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.records.geometry import Box

_QUALITY = 85
_HUES = 12
"""Objects beside each other get different colours, and one object keeps its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A box and what stands beside it."""

    box: Box
    text: str
    number: int
    """Gives the colour."""


def boxed_jpeg(pixels: NDArray[np.uint8], boxes: Sequence[Labelled] = ()) -> bytes:
    """Encode an upright RGB picture ``uint8[h, w, 3]``, in its own size, with these boxes on it."""
    picture = Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    draw = ImageDraw.Draw(picture)
    thickness_px = max(2, round(min(width, height) / 200))
    for labelled in boxes:
        box, colour = labelled.box, _colour(labelled.number)
        left, top = box.left * width, box.top * height
        right, bottom = left + box.width * width, top + box.height * height
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=thickness_px)
        draw.text((left + thickness_px + 1, max(0, top - 12)), labelled.text, fill=colour)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * 5 % _HUES / _HUES, 1.0, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
