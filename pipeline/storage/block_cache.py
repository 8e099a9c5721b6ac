"""Reading a remote object by blocks: what all stores share that answer requests for ranges."""

from abc import abstractmethod
from collections import OrderedDict

from typing_extensions import override

from pipeline.storage.reader import Reader

# After a jump, one block is fetched: about a keyframe. Each further request straight on asks for twice as much, up to
# 4 MiB, which take longer to arrive than a request's delay.
BLOCK_BYTES = 1 << 18
_MAX_RUN_BLOCKS = 16
_CACHED_BLOCKS = 32


class BlockReader(Reader):
    """Keeps the last blocks that were read, and asks for more of them at a time while reading goes straight on.

    A header and a segment in the middle of a video cost little more than their own bytes.
    """

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._run_blocks = 1
        self._next_block = 1

    @abstractmethod
    def _fetch(self, start: int, end: int) -> bytes:
        """All bytes ``[start, end)``, which lie within the object. Raises as ``read_at`` does."""

    @override
    def read_at(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size_bytes)
        if not 0 <= offset < end:
            return b""
        first, last = offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        data = b"".join([self._block(index, last=last) for index in range(first, last + 1)])
        return data[offset - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    @override
    def close(self) -> None:
        self._blocks.clear()

    def _keep(self, index: int, block: bytes) -> None:
        self._blocks[index] = block

    def _block(self, index: int, *, last: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        self._run_blocks = self._run_blocks * 2 if index == self._next_block else 1
        self._run_blocks = min(max(self._run_blocks, last - index + 1), _MAX_RUN_BLOCKS)
        self._next_block = index + self._run_blocks
        start = index * BLOCK_BYTES
        data = self._fetch(start, min(start + self._run_blocks * BLOCK_BYTES, self.size_bytes))
        blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
        self._blocks.update(enumerate(blocks, start=index))
        while len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return blocks[0]
