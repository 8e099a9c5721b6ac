"""From an upright picture to the model's input, beside the decoder: torch's own kernel, without torchvision's memory.

What the weights' transforms do on ``uint8`` tensors (``torchvision.transforms.v2``: resize with antialias, then
centre-crop), value for value; timm's are the same two steps.

Call ``use_one_thread`` first: many workers decode on one machine, each on its own core.
"""

import math
import platform
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from pipeline.model_info import Interpolation, Preprocessing

KERNEL_RADIUS_PX: dict[Interpolation, int] = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""How far the weights of an output pixel reach, in pixels of the coarser of both pictures; nearest has none."""

MAX_RESIZED_PX = 1 << 24
"""No larger picture is built on the way: a strip of 3 x 60000 would become 4 GB before its middle is cut out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """In one direction: the part of the source to resize, to how long, and the part of that to keep."""

    source: slice
    resized_px: int
    kept: slice
    zeros_before_px: int
    """Where the resized picture is shorter than the crop."""


def use_one_thread() -> None:
    """Keep torch, in this process, to the core that the decoder works on."""
    torch.set_num_threads(1)


def prepare(picture: NDArray[np.uint8], *, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and crop a picture as the model's weights prescribe it.

    Args:
        picture: RGB, upright, ``uint8[h, w, 3]``; C-contiguous and writable, or it is copied first.
        preprocessing: the weights' own.

    Returns:
        ``uint8[H, W, 3]``, C-contiguous, that shares no memory with ``picture``. Equal to torchvision's, but for
        strips whose resized whole exceeds ``MAX_RESIZED_PX``: those may be off by a pixel's shift.
    """
    height_px, width_px = resized_size(picture.shape[0], picture.shape[1], resize_px=preprocessing.resize_px)
    radius_px = KERNEL_RADIUS_PX[preprocessing.interpolation]
    lengths_px = zip(picture.shape[:2], (height_px, width_px), preprocessing.crop_px, strict=True)
    axes = [{"source_px": source, "resized_px": resized, "crop_px": crop} for source, resized, crop in lengths_px]
    rows, columns = (exact_cut(**axis, radius_px=radius_px) for axis in axes)
    if rows.resized_px * columns.resized_px > MAX_RESIZED_PX:
        rows, columns = (near_cut(**axis, radius_px=radius_px) for axis in axes)
    part = picture[rows.source, columns.source]
    resized = _resized(part, size=(rows.resized_px, columns.resized_px), interpolation=preprocessing.interpolation)
    kept = resized[rows.kept, columns.kept]
    if kept.shape[:2] == preprocessing.crop_px:
        return kept.copy()
    framed = np.zeros((*preprocessing.crop_px, 3), np.uint8)
    top, left = rows.zeros_before_px, columns.zeros_before_px
    framed[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
    return framed


def resized_size(height_px: int, width_px: int, *, resize_px: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width after the resize; for one number, of the shorter side, torchvision's rounding."""
    if isinstance(resize_px, tuple):
        return resize_px
    longer_px = int(resize_px * max(height_px, width_px) / min(height_px, width_px))
    return (longer_px, resize_px) if width_px <= height_px else (resize_px, longer_px)


def exact_cut(*, source_px: int, resized_px: int, crop_px: int, radius_px: int) -> Cut:
    """The smallest part known to give the same pixels as the whole.

    The kernel's weights repeat with a period of ``resized_px / gcd`` output pixels, at whose start a source pixel
    starts too. Cut at such places, with the kernel's reach to spare, a part is weighted as it is within the whole.
    16:9 at 256 pixels' height has five periods, of which three remain; odd sizes have one, and stay whole. At least
    two remain, so that the precision of torch's integer weights, which follows their maximum, is the same. Nearest
    stays whole too: it rounds positions in ``float32``.
    """
    start_px, kept_px, before_px = _kept(resized_px=resized_px, crop_px=crop_px)
    periods = math.gcd(source_px, resized_px) if radius_px else 1
    source_step, resized_step = source_px // periods, resized_px // periods
    reach_px = _reach(source_px=source_px, resized_px=resized_px, radius_px=radius_px)
    first = max(0, min((start_px - reach_px) // resized_step, periods - 2))
    last = min(periods, max(-(-(start_px + kept_px + reach_px) // resized_step), first + 2))
    start_px -= first * resized_step
    return Cut(
        source=slice(first * source_step, last * source_step),
        resized_px=(last - first) * resized_step,
        kept=slice(start_px, start_px + kept_px),
        zeros_before_px=before_px,
    )


def near_cut(*, source_px: int, resized_px: int, crop_px: int, radius_px: int) -> Cut:
    """A part that is cut at the nearest whole source pixels: small whatever the sizes, and off by a pixel at most."""
    start_px, kept_px, before_px = _kept(resized_px=resized_px, crop_px=crop_px)
    scale = resized_px / source_px
    reach_px = _reach(source_px=source_px, resized_px=resized_px, radius_px=radius_px)
    first = max(0, math.floor((start_px - reach_px) / scale))
    last = min(source_px, math.ceil((start_px + kept_px + reach_px) / scale))
    part_px = max(kept_px, round((last - first) * scale))
    start_px = min(start_px - round(first * scale), part_px - kept_px)
    return Cut(
        source=slice(first, last),
        resized_px=part_px,
        kept=slice(start_px, start_px + kept_px),
        zeros_before_px=before_px,
    )


def _kept(*, resized_px: int, crop_px: int) -> tuple[int, int, int]:
    """First pixel and number of pixels that the crop keeps, and zeros before them: torchvision's rounding."""
    if crop_px > resized_px:
        return 0, resized_px, (crop_px - resized_px) // 2
    return round((resized_px - crop_px) / 2), crop_px, 0


def _reach(*, source_px: int, resized_px: int, radius_px: int) -> int:
    return math.ceil(radius_px * max(1.0, resized_px / source_px)) + 1


def _resized(part: NDArray[np.uint8], *, size: tuple[int, int], interpolation: Interpolation) -> NDArray[np.uint8]:
    """Resize ``uint8[h, w, 3]``; the result may be ``part`` itself."""
    if part.shape[:2] == size:
        return part
    # Rows must follow each other without gaps for the fast kernel; copying them is cheaper than the slow one. And
    # torch warns of read-only arrays.
    part = np.require(part, requirements=("C", "W"))
    # The stride of the single batch element tells torch that this is channels_last; with the stride that permute
    # leaves, it packs the result anew (pytorch/pytorch#68430).
    strides = (part.size, 1, part.strides[0], 3)
    pixels = torch.from_numpy(part).as_strided((1, 3, *part.shape[:2]), strides)
    if interpolation == "nearest":
        resized = interpolate(pixels, size=size, mode=interpolation)
    elif interpolation == "bilinear" and not _has_integer_bilinear():
        smooth = interpolate(pixels.float(), size=size, mode=interpolation, align_corners=False, antialias=True)
        resized = smooth.round_().to(torch.uint8)
    else:
        resized = interpolate(pixels, size=size, mode=interpolation, align_corners=False, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _has_integer_bilinear() -> bool:
    """Where torchvision resizes ``uint8`` bilinearly without going through ``float32``."""
    return torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"} or platform.machine() in {"aarch64", "arm64"}
