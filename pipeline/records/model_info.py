"""What is known of a model without holding it: plain values, free of torch."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, Self, get_args

from pipeline.records.documents import Document, flag, numbers, only, part, text, whole, wholes

Precision = Literal["fp32", "fp16", "bf16"]
FeatureType = Literal["float32", "float16"]

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Scaler = Literal["torch", "ffmpeg"]
_SCALERS: dict[str, Scaler] = {name: name for name in get_args(Scaler)}
_INTERPOLATIONS: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}


MAX_SAMPLE_BYTES = 1 << 26
"""No model takes larger pictures: what a dataset says of its model must not be able to exhaust memory."""

MAX_DIM = 1 << 20
"""No model gives longer features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From an upright RGB picture to the model's input, as the weights prescribe it.

    ``resize_px`` is the length of the shorter side, or ``(height, width)``; then the centre ``crop_px``
    (height, width) is cut out. Both happen on ``uint8``; scaling to 0..1 and ``(x - mean) / std`` happen on the
    model's device.
    """

    resize_px: int | tuple[int, int]
    crop_px: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    antialias: bool = True
    """Whether the resize smooths what it makes smaller."""
    window: int | None = None
    """How many samples the model takes at once, as a clip; ``None``: pictures, each by itself."""
    scaler: Scaler = "torch"
    """``ffmpeg``: the decoder scales whole pictures to ``crop_px`` by FFmpeg's bicubic filter, whatever their shape."""

    def __post_init__(self) -> None:
        sizes = [*self.crop_px, *(self.resize_px if isinstance(self.resize_px, tuple) else (self.resize_px,))]
        if min(sizes) < 1:
            raise ValueError(f"sizes must be at least one pixel: resize {self.resize_px}, crop {self.crop_px}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"a window of {self.window} samples")
        if self.sample_bytes * (self.window or 1) > MAX_SAMPLE_BYTES:
            what = f"{self.crop_px} pixels" if self.window is None else f"{self.window} x {self.crop_px} pixels"
            raise ValueError(f"a model input of {what} is more than {MAX_SAMPLE_BYTES} bytes")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive: {self.std}")

    @property
    def sample_bytes(self) -> int:
        """Size of one sample as the model takes it, ``uint8[H, W, 3]``."""
        return self.crop_px[0] * self.crop_px[1] * 3

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one model input, ``uint8[H, W, 3]``; of a clip ``uint8[N, H, W, 3]``."""
        picture = (*self.crop_px, 3)
        return picture if self.window is None else (self.window, *picture)

    @property
    def beside_the_decoder(self) -> "Preprocessing":
        """What of it happens on ``uint8``: where this is equal, models share one prepared input."""
        return Preprocessing(
            resize_px=self.resize_px,
            crop_px=self.crop_px,
            interpolation=self.interpolation,
            antialias=self.antialias,
            scaler=self.scaler,
        )

    def to_json(self) -> Document:
        """A JSON document that ``from_json`` reads back.

        Fields that version 0.2 did not have are left out at their defaults, so that its fingerprints stay.
        """
        document = dataclasses.asdict(self)
        return {name: value for name, value in document.items() if (name, value) not in _LEFT_OUT}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``; what is missing and has a default gets it.

        Raises:
            KeyError, TypeError, ValueError: it is no such document.
        """
        only(document, cls.__slots__, what="the preprocessing")
        resize_px = document["resize_px"]
        name = text(document, "interpolation") if "interpolation" in document else "bilinear"
        if name not in _INTERPOLATIONS:
            raise ValueError(f"interpolation is {name!r}, not one of {', '.join(_INTERPOLATIONS)}")
        colours = {name: _three(document, name) for name in ("mean", "std") if name in document}
        window = whole(document, "window") if "window" in document else None
        scaler = text(document, "scaler") if "scaler" in document else "torch"
        if scaler not in _SCALERS:
            raise ValueError(f"scaler is {scaler!r}, not one of {', '.join(_SCALERS)}")
        return cls(
            resize_px=whole(document, "resize_px") if isinstance(resize_px, int) else _two(document, "resize_px"),
            crop_px=_two(document, "crop_px"),
            interpolation=_INTERPOLATIONS[name],
            antialias=flag(document, "antialias") if "antialias" in document else True,
            window=window,
            scaler=_SCALERS[scaler],
            **colours,
        )


_LEFT_OUT = (("antialias", True), ("window", None), ("scaler", "torch"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A loaded model's identity: enough to fingerprint a dataset and to decode for it."""

    name: str
    dim: int
    """Length of a feature vector: the input of the classification layer."""
    weights_digest: str
    """``sha256:`` over the names, shapes and bytes of the state dict."""
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise ValueError(f"a feature has 1 to {MAX_DIM} values, not {self.dim}")

    def to_json(self) -> Document:
        """A JSON document that ``from_json`` reads back."""
        return dataclasses.asdict(self) | {"preprocessing": self.preprocessing.to_json()}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``. Raises as ``Preprocessing.from_json`` does."""
        only(document, cls.__slots__, what="the model")
        return cls(
            name=text(document, "name"),
            dim=whole(document, "dim"),
            weights_digest=text(document, "weights_digest"),
            preprocessing=Preprocessing.from_json(part(document, "preprocessing")),
        )


def folder_of(name: str) -> str:
    """The folder of a model's dataset, where several models make one each."""
    return name.replace("/", "-").replace(":", "-")


def feature_fingerprint(model: ModelInfo, precision: Precision) -> str:
    """16 hexadecimal digits that features made in one way share, whether batch or live, whatever was sampled."""
    import hashlib  # takes 3 ms, which the decoder's child, started after every crash, need not pay

    document = {"model": model.to_json(), "precision": precision}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _two(document: Document, name: str) -> tuple[int, int]:
    first, second = wholes(document, name)
    return first, second


def _three(document: Document, name: str) -> tuple[float, float, float]:
    first, second, third = numbers(document, name)
    return first, second, third
