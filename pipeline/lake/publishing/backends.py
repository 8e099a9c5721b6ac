"""Which backend keeps the dataset of an address.

A new kind of place is a module with a store and a backend, a ``Place`` in ``storage.addresses``, and a line here.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from pipeline.errors import UsageError
from pipeline.lake.publishing.bucket_lease import BucketBackend
from pipeline.lake.publishing.folder_lease import FolderBackend
from pipeline.lake.publishing.lease import Backend
from pipeline.lake.publishing.slots import Slot
from pipeline.storage.addresses import Place, place_of, scheme_of

_BACKENDS: Mapping[Place, Callable[[str], Backend]] = {Place.FILES: FolderBackend, Place.BUCKET: BucketBackend}


def backend_at(uri: str) -> Backend:
    """The backend of the dataset at ``uri``, which need not exist yet.

    Args:
        uri: a folder's path or ``file:`` address, or an address in an object store.

    Returns:
        Nothing has been asked of the place yet: that it exists, answers and takes files is for ``ensure_writable``.

    Raises:
        UsageError: it is empty, datasets cannot be kept there, the library for it is not installed, or the environment
            lacks its account or credentials.
    """
    if not uri:  # which would be the current folder, and is a variable of a script that is not set
        raise UsageError("the dataset's address is empty: give a folder, s3://, gs://, az:// or abfs(s)://")
    place = place_of(uri)
    backend = None if place is None else _BACKENDS.get(place)
    if backend is None:
        raise UsageError(
            f"a dataset cannot be kept at {scheme_of(uri)}://: give a local folder, az://, s3:// or gs:// as --out"
        )
    return backend(uri)


@contextlib.contextmanager
def leased(backend: Backend, *, slot: Slot) -> Iterator[str]:
    """The token of the lease of a slot, held until the end of the ``with``; makes the place where there is none.

    Raises:
        UsageError: the place takes no files, or another run holds it.
        StorageError: the store failed.
        RunError: the lease could not be renewed any more, for a reason that is no failure of the store.
    """
    backend.store.ensure_writable()
    held = backend.acquire(slot=slot)
    try:
        with held.guard():
            backend.store.clear_temporaries()
            yield held.token
    finally:
        held.release()
