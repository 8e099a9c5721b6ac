"""From an upright picture to the model's input, beside the decoder: torch's own kernel, without torch's memory.

What the weights' transforms do on ``uint8`` tensors (``torchvision.transforms.v2``: resize with antialias, then
centre-crop), value for value; timm's are the same two steps. The models of clips were trained without antialias, on
pictures that torchvision resizes in ``float32`` and rounds.

Call ``use_one_thread`` first: many workers decode on one machine, each on its own core.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pipeline.models.resize_kernels import resize_kernels
from pipeline.records.crops import cuts
from pipeline.records.model_info import Interpolation, Preprocessing


def use_one_thread() -> None:
    """Keep torch, in this process, to the core that the decoder works on."""
    resize_kernels().num_threads = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """``use_one_thread``, for as long as the context is open; where that is so already, nothing is touched."""
    kernels = resize_kernels()
    before = kernels.num_threads
    if before == 1:
        yield
        return
    kernels.num_threads = 1
    try:
        yield
    finally:
        kernels.num_threads = before


def prepare(picture: NDArray[np.uint8], *, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and crop a picture as the model's weights prescribe it.

    Args:
        picture: RGB, upright, ``uint8[h, w, 3]``; C-contiguous and writable, or it is copied first.
        preprocessing: the weights' own.

    Returns:
        ``uint8[H, W, 3]``, C-contiguous, that shares no memory with ``picture``. Equal to torchvision's, but for
        strips whose resized whole exceeds ``MAX_RESIZED_PX``: those may be off by a pixel's shift.
    """
    rows, columns = cuts(*picture.shape[:2], preprocessing=preprocessing)
    prepared = np.empty((*preprocessing.crop_px, 3), np.uint8)
    part = picture[rows.source, columns.source]
    prepare_part(part, whole_px=picture.shape[:2], preprocessing=preprocessing, into=prepared)
    return prepared


def prepare_part(
    part: NDArray[np.uint8], *, whole_px: tuple[int, ...], preprocessing: Preprocessing, into: NDArray[np.uint8]
) -> None:
    """As ``prepare``, of the part that ``crops.cuts`` takes of a picture of ``whole_px``, to ``uint8[H, W, 3]``."""
    rows, columns = cuts(*whole_px, preprocessing=preprocessing)
    size_px = rows.resized_px, columns.resized_px
    how, antialias = preprocessing.interpolation, preprocessing.antialias
    resized = resize(part, size=size_px, interpolation=how, antialias=antialias)
    kept = resized[rows.kept, columns.kept]
    if kept.shape != into.shape:
        top, left = rows.zeros_before_px, columns.zeros_before_px
        into[:] = 0
        into = into[top : top + kept.shape[0], left : left + kept.shape[1]]
    np.copyto(into, kept)


def resize(
    part: NDArray[np.uint8], *, size: tuple[int, int], interpolation: Interpolation, antialias: bool = True
) -> NDArray[np.uint8]:
    """Resize ``uint8[h, w, 3]`` as torchvision does; the result may be ``part`` itself."""
    if part.shape[:2] == size:
        return part
    # Rows must follow each other without gaps for the fast kernel; copying them is cheaper than the slow one.
    part = np.ascontiguousarray(part)
    kernels = resize_kernels()
    if interpolation != "nearest" and (
        not antialias or (interpolation == "bilinear" and not kernels.has_integer_bilinear)
    ):
        with one_thread():  # for several threads torch takes another kernel, which rounds otherwise
            smooth = kernels.resized(
                part.astype(np.float32), size=size, interpolation=interpolation, antialias=antialias
            )
        return np.rint(smooth).clip(0, 255).astype(np.uint8)
    return kernels.resized(part, size=size, interpolation=interpolation, antialias=True)
