"""Which store a dataset's address means."""

from pipeline.bucket_store import BucketStore
from pipeline.errors import UsageError
from pipeline.publish import LocalStore, Store
from pipeline.uris import BUCKET_FAMILIES, scheme_of


def store_at(uri: str) -> Store:
    """The store of the dataset at ``uri``, which need not exist yet.

    Raises:
        UsageError: datasets cannot be kept there, or the library for it is not installed.
    """
    scheme = scheme_of(uri)
    if scheme == "file":
        return LocalStore(uri)
    if scheme in BUCKET_FAMILIES:
        return BucketStore(uri)
    raise UsageError(f"a dataset cannot be kept at {scheme}://: give a local folder, az://, s3:// or gs:// as --out")
