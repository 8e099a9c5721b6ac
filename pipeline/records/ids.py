"""Video ids and segment keys in a few bytes each, so that a driver can hold a million videos.

An id has 20 hexadecimal digits. As ``id_bytes`` gives them they are spelled out, ``S20``; what is kept of many is
packed, two digits to a byte. Both sort alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.records.shards import Shard

ID_BYTES = 20
_PACKED_BYTES = ID_BYTES // 2
KEY_BYTES = _PACKED_BYTES + 4
_ADDED_AT_ONCE = 10_000
_TO_ARROW_AT_ONCE = 65_536
_SPELLED = np.frombuffer(b"0123456789abcdef", np.uint8)
_NO_DIGIT = 255
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
_DIGITS[_SPELLED] = np.arange(16)


class GrowingArray:
    """Many arrays behind each other, in one that grows as they come.

    Kept apart until they are joined, they are scattered over the heap, and when they are gone it stays the process's;
    this one is a mapping of its own, which grows without being copied.
    """

    def __init__(self, kind: Any) -> None:
        """Begin an empty one of a type."""
        self._array = np.empty(_ADDED_AT_ONCE, kind)
        self._count = 0

    def add(self, part: NDArray[Any]) -> None:
        """Put a copy behind the others."""
        count = self._count + len(part)
        if count > len(self._array):
            self._array.resize(max(count, 2 * len(self._array)), refcheck=False)
        self._array[self._count : count] = part
        self._count = count

    def close(self) -> NDArray[Any]:
        """All of them; nothing is added from then on."""
        self._array.resize(self._count, refcheck=False)
        return self._array


class Ids:
    """A set of video ids that may grow, in 10 bytes each."""

    def __init__(self, parts: Iterable[NDArray[np.bytes_]] = ()) -> None:
        """Begin with the ids in ``parts``, each as ``id_bytes`` gives them.

        Raises:
            ValueError: one of them is no video's id.
        """
        self._sorted = _distinct(packed(part) for part in parts)
        self._new: set[bytes] = set()

    def add(self, video_id: str) -> bool:
        """Put one in; returns whether it was not there before. Raises as the constructor does."""
        key = _packed_one(video_id)
        if key is None:
            raise ValueError(f"{video_id!r} is no video's id")
        if self._holds(key):
            return False
        self._new.add(key)
        if len(self._new) >= max(_ADDED_AT_ONCE, len(self._sorted) // 32):
            self._merge()
        return True

    def __len__(self) -> int:
        self._merge()
        return len(self._sorted)

    def __contains__(self, video_id: str) -> bool:
        key = _packed_one(video_id)
        return key is not None and self._holds(key)

    def mask(self, video_ids: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which of many are in it."""
        return self.find(id_bytes(video_ids)) >= 0

    def find(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The places of ids, as ``id_bytes`` gives them, among all of them, sorted; -1 for those that are not in it."""
        self._merge()
        keys, is_id = _packed(ids)
        return np.where(is_id, find_places(self._sorted, keys), -1)

    def to_arrow(self) -> Iterator[pa.Array]:
        """All of them, sorted, as strings: some ten thousand at a time."""
        self._merge()
        for at in range(0, len(self._sorted), _TO_ARROW_AT_ONCE):
            yield pa.array(unpacked(self._sorted[at : at + _TO_ARROW_AT_ONCE]), pa.binary()).cast(pa.string())

    def to_bytes(self) -> NDArray[np.bytes_]:
        """All of them, sorted, as ``id_bytes`` gives them."""
        self._merge()
        return unpacked(self._sorted)

    def _holds(self, key: bytes) -> bool:
        """Whether one packed id is in it; ``find_places``, which looks up many, takes four times as long for one."""
        if key in self._new:
            return True
        at = self._sorted.searchsorted(key)
        # Bytes are compared, for an element that numpy hands out has lost the zeros at its end.
        return bool(self._sorted[at : at + 1].tobytes() == key)

    def _merge(self) -> None:
        if self._new:
            self._sorted = _distinct([self._sorted, np.array(list(self._new), self._sorted.dtype)])
            self._new.clear()


def in_all(sets: Sequence[Ids]) -> Ids:
    """The ids that are in each of some sets, and at least one of these."""
    first, *others = sets
    if not others:
        return first
    common = first.to_bytes()
    for other in others:
        common = common[other.find(common) >= 0]
    return Ids([common])


def packed(ids: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Ids, as ``id_bytes`` gives them, in 10 bytes each.

    Raises:
        ValueError: one of them is no video's id.
    """
    keys, is_id = _packed(ids)
    if not is_id.all():
        raise ValueError(f"{ids[~is_id][0].decode(errors='replace')!r} is no video's id")
    return keys


def unpacked(ids: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """The reverse of ``packed``."""
    pairs = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, _PACKED_BYTES)
    spelled = np.empty((len(ids), _PACKED_BYTES, 2), np.uint8)
    spelled[..., 0], spelled[..., 1] = _SPELLED[pairs >> 4], _SPELLED[pairs & 15]
    return spelled.reshape(-1).view(f"S{ID_BYTES}")


def _packed(ids: NDArray[np.bytes_]) -> tuple[NDArray[np.bytes_], NDArray[np.bool_]]:
    """Ids in 10 bytes each, and which of them are ids at all."""
    digits = _DIGITS[np.ascontiguousarray(ids).view(np.uint8).reshape(-1, ID_BYTES)]
    keys = digits[:, ::2] << 4 | digits[:, 1::2]
    return np.ascontiguousarray(keys).reshape(-1).view(f"S{_PACKED_BYTES}"), (digits != _NO_DIGIT).all(axis=1)


def _packed_one(video_id: str) -> bytes | None:
    """An id in 10 bytes; ``None``: it is none."""
    try:
        key = bytes.fromhex(video_id)
    except ValueError:
        return None
    return key if len(key) == _PACKED_BYTES and key.hex() == video_id else None


def segment_keys(video_ids: NDArray[np.bytes_], segments: NDArray[Any]) -> NDArray[np.bytes_]:
    """Sortable keys of segments, each of one of ``video_ids``; segment -1 stands for the whole video.

    Raises:
        ValueError: one of them is no video's id.
    """
    keys = np.empty((len(video_ids), KEY_BYTES), np.uint8)
    keys[:, :_PACKED_BYTES] = packed(video_ids).view(np.uint8).reshape(-1, _PACKED_BYTES)
    keys[:, _PACKED_BYTES:] = (segments + 1).astype(">u4").view(np.uint8).reshape(-1, 4)
    return keys.view(f"S{KEY_BYTES}").reshape(-1)


def ids_of_keys(keys: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """The videos of ``segment_keys``, as ``id_bytes`` gives them."""
    return unpacked(np.ascontiguousarray(_split(keys)[:, :_PACKED_BYTES]).reshape(-1).view(f"S{_PACKED_BYTES}"))


def segments_of_keys(keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """The segments of ``segment_keys``; -1: the whole video."""
    return np.ascontiguousarray(_split(keys)[:, _PACKED_BYTES:]).view(">u4").reshape(-1).astype(np.int64) - 1


def spelled_keys(keys: NDArray[np.bytes_]) -> bytes:
    """The same with their ids spelled out: of such bytes the digests of lakes are made."""
    spelled = np.empty((len(keys), ID_BYTES + 4), np.uint8)
    spelled[:, :ID_BYTES] = ids_of_keys(keys).view(np.uint8).reshape(-1, ID_BYTES)
    spelled[:, ID_BYTES:] = _split(keys)[:, _PACKED_BYTES:]
    return spelled.tobytes()


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
    for character in ids.view(np.uint8).reshape(-1, ID_BYTES).T:
        digit = _DIGITS[character].astype(np.int64)
        rest = (rest * 16 + np.where(digit == _NO_DIGIT, 0, digit)) % shard.count
    is_mine: NDArray[np.bool_] = rest == shard.index - 1
    return is_mine


def _distinct(parts: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    """Packed ids, each once and sorted."""
    growing = GrowingArray(f"S{_PACKED_BYTES}")
    for part in parts:
        growing.add(part)
    ids = growing.close()
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
