"""A still picture from the bytes of a JPEG, PNG, WebP or BMP, upright (runs in the decoder process)."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pipeline.errors import Corrupt, TooLarge
from pipeline.records.crops import part_of
from pipeline.records.model_info import Preprocessing

_READERS: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"RIFF": WebPImageFile,
    b"BM": BmpImageFile,
}
_NEEDED_LATER = (TiffImagePlugin,)  # by EXIF; nothing can be imported once the decoder is locked in
# What Pillow's readers raise over damage.
_UNDECODABLE = (OSError, SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, struct.error)
_STRIP_PX = 1 << 20

Image.MAX_IMAGE_PIXELS = None  # each request's own limit counts, and not a warning


class StillPicture:
    """The first picture of a file, decoded, and turned as its EXIF orientation says."""

    def __init__(self, data: bytes, *, uri: str, max_pixels: int) -> None:
        """Decode it.

        Raises:
            TooLarge: the header announces more than ``max_pixels`` pixels; nothing was decoded.
            Corrupt: it does not decode.
        """
        reader = next((reader for head, reader in _READERS.items() if data.startswith(head)), None)
        if reader is None:
            raise Corrupt(uri, "not a picture that decodes (neither JPEG nor PNG, WebP or BMP)")
        try:
            self._picture = reader(io.BytesIO(data))
            width, height = self._picture.size
            if width * height > max_pixels:
                raise TooLarge(uri, f"{width} x {height} is more than {max_pixels} pixels")
            ImageOps.exif_transpose(self._picture, in_place=True)
            self._picture.load()
        except _UNDECODABLE as error:
            raise Corrupt(uri, f"not a picture that decodes ({_plainly(error)})") from None

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        return self._picture.height, self._picture.width

    def part_of(self, preprocessings: tuple[Preprocessing, ...]) -> Image.Image:
        """The part that holds what these keep of the picture, in the file's own colours; without any, all of it."""
        rows, columns = part_of(*self.size_px, preprocessings=preprocessings)
        return self._picture.crop((columns.start, rows.start, columns.stop, rows.stop))


def paint(picture: Image.Image, *, into: NDArray[np.uint8]) -> None:
    """Write a picture as RGB to ``into``, ``uint8[h, w, 3]``."""
    rows = max(1, _STRIP_PX // picture.width)  # at a time: converting takes several times a picture's memory
    for top in range(0, picture.height, rows):
        bottom = min(picture.height, top + rows)
        strip = picture.crop((0, top, picture.width, bottom))
        if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip rather than scale
            grey = (np.asarray(strip) >> 8).clip(0, 255).astype(np.uint8)
            np.copyto(into[top:bottom], grey[:, :, None])
        else:
            np.copyto(into[top:bottom], np.asarray(strip.convert("RGB")))


def _plainly(error: Exception) -> str:
    """Pillow's own words, unless they quote the file object."""
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    return type(error).__name__ if "<" in message else message[:120]
