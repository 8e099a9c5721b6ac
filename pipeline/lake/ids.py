"""Video ids and segment keys in a few bytes each, so that a driver can hold a million videos."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.records.shards import Shard

ID_BYTES = 20
KEY_BYTES = ID_BYTES + 4
_ADDED_AT_ONCE = 10_000
_DIGITS = np.array([int(chr(byte), 16) if chr(byte) in "0123456789abcdef" else 0 for byte in range(256)])


class Ids:
    """A set of video ids that may grow, in 20 bytes each."""

    def __init__(self, parts: Iterable[NDArray[np.bytes_]] = ()) -> None:
        """Begin with the ids in ``parts``, each as ``id_bytes`` gives them."""
        self._sorted = _distinct(parts)
        self._new: set[bytes] = set()

    def add(self, video_id: str) -> None:
        """Put one in."""
        self._new.add(video_id.encode())
        if len(self._new) >= max(_ADDED_AT_ONCE, len(self._sorted) // 8):
            self._merge()

    def __len__(self) -> int:
        self._merge()
        return len(self._sorted)

    def __contains__(self, video_id: str) -> bool:
        key = video_id.encode()
        return key in self._new or bool(find_places(self._sorted, np.array([key], f"S{ID_BYTES}"))[0] >= 0)

    def mask(self, video_ids: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which of many are in it."""
        self._merge()
        return find_places(self._sorted, id_bytes(video_ids)) >= 0

    def to_arrow(self) -> pa.Array:
        """All of them, sorted, as strings."""
        return pa.array(self.to_bytes(), pa.binary()).cast(pa.string())

    def to_bytes(self) -> NDArray[np.bytes_]:
        """All of them, sorted, as ``id_bytes`` gives them."""
        self._merge()
        return self._sorted

    def _merge(self) -> None:
        if self._new:
            self._sorted = _distinct([self._sorted, np.array(list(self._new), f"S{ID_BYTES}")])
            self._new.clear()


def in_all(sets: Sequence[Ids]) -> Ids:
    """The ids that are in each of some sets, and at least one of these."""
    first, *others = sets
    if not others:
        return first
    common = first.to_bytes()
    for other in others:
        common = common[find_places(other.to_bytes(), common) >= 0]
    return Ids([common])


def segment_keys(video_ids: NDArray[np.bytes_], segments: NDArray[Any]) -> NDArray[np.bytes_]:
    """Sortable keys of segments, each of one of ``video_ids``; segment -1 stands for the whole video."""
    keys = np.empty((len(video_ids), KEY_BYTES), np.uint8)
    keys[:, :ID_BYTES] = np.ascontiguousarray(video_ids).view(np.uint8).reshape(-1, ID_BYTES)
    keys[:, ID_BYTES:] = (segments + 1).astype(">u4").view(np.uint8).reshape(-1, 4)
    return keys.view(f"S{KEY_BYTES}").reshape(-1)


def ids_of_keys(keys: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """The videos of ``segment_keys``, as ``id_bytes`` gives them."""
    return np.ascontiguousarray(_split(keys)[:, :ID_BYTES]).view(f"S{ID_BYTES}").reshape(-1)


def segments_of_keys(keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """The segments of ``segment_keys``; -1: the whole video."""
    return np.ascontiguousarray(_split(keys)[:, ID_BYTES:]).view(">u4").reshape(-1).astype(np.int64) - 1


def _split(keys: NDArray[np.bytes_]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(keys).view(np.uint8).reshape(-1, KEY_BYTES)


def id_bytes(video_ids: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Ids as ``Ids`` and ``segment_keys`` take them."""
    parts = [np.empty(0, f"S{ID_BYTES}")]
    for at in range(0, len(video_ids), _ADDED_AT_ONCE):  # a Python string takes four times as much
        ids = np.array([video_id.encode() for video_id in video_ids.slice(at, _ADDED_AT_ONCE).to_pylist()], "S")
        if ids.dtype.itemsize > ID_BYTES:
            raise ValueError(f"a video id has more than {ID_BYTES} characters: {max(ids.tolist(), key=len)!r}")
        parts.append(ids.astype(f"S{ID_BYTES}"))
    return np.concatenate(parts)


def in_shard(ids: NDArray[np.bytes_], shard: Shard) -> NDArray[np.bool_]:
    """``shard.holds`` of many ids, as ``id_bytes`` gives them."""
    rest = np.zeros(len(ids), np.int64)
    for digit in ids.view(np.uint8).reshape(-1, ID_BYTES).T:
        rest = (rest * 16 + _DIGITS[digit]) % shard.count
    is_mine: NDArray[np.bool_] = rest == shard.index - 1
    return is_mine


def _distinct(parts: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    ids = np.concatenate([np.empty(0, f"S{ID_BYTES}"), *parts])
    ids.sort(kind="stable")  # of what is sorted already for the most part; in place, as ``np.unique`` is not
    is_first = np.append(True, ids[1:] != ids[:-1])[: len(ids)]
    return ids if is_first.all() else ids[is_first]


def repeated(parts: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    """The ids that stand there more than once, sorted."""
    ids, counts = np.unique(np.concatenate([np.empty(0, f"S{ID_BYTES}"), *parts]), return_counts=True)
    return ids[counts > 1]


def find_places(among: NDArray[np.bytes_], keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Places of ``keys`` in a sorted array; -1 for those that are not there."""
    if not len(among):
        return np.full(len(keys), -1, np.int64)
    at = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    return np.where(among[at] == keys, at, -1)
