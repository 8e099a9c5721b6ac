"""Which store a dataset's address means."""

from pipeline.accounts import is_bucket_scheme
from pipeline.bucket_store import BucketStore
from pipeline.errors import UsageError
from pipeline.publish import LocalStore, Store
from pipeline.uris import scheme_of


def store_at(uri: str) -> Store:
    """The store of the dataset at ``uri``, which need not exist yet.

    Raises:
        UsageError: datasets cannot be kept there, or the library for it is not installed.
    """
    scheme = scheme_of(uri)
    if scheme == "file":
        return LocalStore(uri)
    if is_bucket_scheme(scheme):
        return BucketStore(uri)
    raise UsageError(f"a dataset cannot be kept at {scheme}://: give a local folder, az://, s3:// or gs:// as --out")
