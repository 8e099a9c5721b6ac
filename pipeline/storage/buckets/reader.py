"""Reading an object of a bucket at any offset, and only while it is the one that was listed."""

from typing_extensions import override

from pipeline.errors import Unreadable
from pipeline.storage.block_cache import BlockReader
from pipeline.storage.buckets.bucket import Bucket
from pipeline.storage.reader import Identity
from pipeline.storage.retry import RetryPolicy


class BucketReader(BlockReader):
    """Every request for a range names the etag that is meant: a replaced object is ``Changed`` at its next block.

    Where a listing has already given its size and etag, opening it asks the store for nothing.
    """

    def __init__(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> None:
        super().__init__()
        self._bucket, self._key = Bucket.of(locator)
        self.uri = self._bucket.uri_of(self._key)
        self._retry = retry
        # An object that was listed need not be asked again: if it was replaced since, the first block is refused.
        is_known = expected is not None and expected.etag is not None and expected.size_bytes is not None
        identity = expected if is_known and expected is not None else self._head()
        self._expected = identity if expected is None else expected
        self._compare(identity)
        self._etag = identity.etag
        self.size_bytes = identity.size_bytes or 0
        if self.size_bytes == 0:
            raise Unreadable(self.uri, "empty")

    @override
    def _fetch(self, start: int, end: int) -> bytes:
        return self._bucket.read(self._key, start=start, end=end, etag=self._etag, retry=self._retry)

    @override
    def _identities(self) -> list[Identity]:
        return [self._head()]

    def _head(self) -> Identity:
        return self._bucket.head(self._key, retry=self._retry)
