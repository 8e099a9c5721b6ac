"""Which part of a picture a model's input is made of: arithmetic, free of torch, for the decoder's child as well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.records.model_info import Interpolation, Preprocessing

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


@lru_cache(maxsize=64)  # asked for every picture, on both sides of the decoder
def cuts(height_px: int, width_px: int, *, preprocessing: Preprocessing) -> tuple[Cut, Cut]:
    """What of an upright picture's rows and columns the model's input needs, and how it is resized and cropped."""
    resized_px = resized_size(height_px, width_px, resize_px=preprocessing.resize_px)
    radius_px = KERNEL_RADIUS_PX[preprocessing.interpolation]
    lengths_px = zip((height_px, width_px), resized_px, preprocessing.crop_px, strict=True)
    axes = [{"source_px": source, "resized_px": resized, "crop_px": crop} for source, resized, crop in lengths_px]
    rows, columns = (exact_cut(**axis, radius_px=radius_px) for axis in axes)
    if rows.resized_px * columns.resized_px > MAX_RESIZED_PX:
        rows, columns = (near_cut(**axis, radius_px=radius_px) for axis in axes)
    return rows, columns


@lru_cache(maxsize=64)
def part_of(height_px: int, width_px: int, *, preprocessings: tuple[Preprocessing, ...]) -> tuple[slice, slice]:
    """The rows and columns of an upright picture that hold all that these models' inputs are made of.

    Without a model, all rows and columns.
    """
    if not preprocessings:
        return slice(0, height_px), slice(0, width_px)
    parts = [cuts(height_px, width_px, preprocessing=each) for each in preprocessings]
    rows, columns = ([cut.source for cut in along] for along in zip(*parts, strict=True))
    return _around(rows), _around(columns)


def part_within(
    height_px: int, width_px: int, *, preprocessing: Preprocessing, preprocessings: tuple[Preprocessing, ...]
) -> tuple[slice, slice]:
    """Where, in the part of a picture that ``preprocessings`` share, the part of one of them lies."""
    outer = part_of(height_px, width_px, preprocessings=preprocessings)
    inner = part_of(height_px, width_px, preprocessings=(preprocessing,))
    rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, columns


def _around(parts: Sequence[slice]) -> slice:
    return slice(min(part.start for part in parts), max(part.stop for part in parts))


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
