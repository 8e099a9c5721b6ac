"""The numbers of a head as named arrays: what a file must hold, and how it is read without running anything of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an array must be; ``None`` in ``sizes``: of any length."""

    dtype: str
    sizes: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('any' if size is None else str(size) for size in self.sizes)}]"

    def fits(self, array: Array) -> bool:
        """Whether an array is of this type and shape."""
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.sizes)
            and all(wanted in (None, size) for wanted, size in zip(self.sizes, array.shape, strict=True))
        )


def check(arrays: Arrays, shapes: Mapping[str, Shape]) -> None:
    """Make sure that the arrays are these and no others, and that all their numbers are finite.

    Raises:
        ValueError: they are not; the first misfit is named.
    """
    absent, further = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    if absent or further:
        raise ValueError(f"lacks {absent[0][:60]}" if absent else f"has {further[0][:60]!r} too")
    for name, shape in shapes.items():
        array = arrays[name]
        if not shape.fits(array):
            raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, not {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")


def to_bytes(arrays: Arrays) -> bytes:
    """The arrays as a ``.safetensors`` file: the same arrays give the same bytes."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})


def from_bytes(data: bytes) -> dict[str, Array]:
    """The inverse of ``to_bytes``.

    Raises:
        ValueError: it is no such file, or holds arrays of types that no head has.
    """
    from safetensors import SafetensorError, deserialize

    try:
        tensors: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]  # it has no types
    except SafetensorError as error:
        raise ValueError(f"no safetensors file: {error}") from None
    arrays = {}
    for name, tensor in tensors:
        dtype: np.dtype[Any] | None = _DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise ValueError(f"{name[:60]} is of type {tensor['dtype']}, which no head has")
        arrays[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return arrays


def prefixed(arrays: Arrays, prefix: str) -> dict[str, Array]:
    """Those whose names begin with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
