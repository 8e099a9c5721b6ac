"""Which videos the input holds now: the ground of ``is_current``."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import Shard
from pipeline.dataset import Dataset
from pipeline.ledger import Ids, Planned, id_bytes, in_shard


def listed(dataset: Dataset) -> Ids | None:
    """The videos that the input last held; ``None``: that is not known."""
    listing = dataset.listing()
    return None if listing is None else Ids([id_bytes(listing)])


def publish_listed(dataset: Dataset, found: Ids, *, shard: Shard, token: str) -> None:
    """Remember that of the shard's videos the input holds those ``found``; about other shards' nothing changes."""
    while True:
        version = dataset.listing_version()
        ids = found
        if shard.count > 1:
            known = listed(dataset)
            known = Planned(dataset).ids if known is None else known
            theirs = _bytes(known)
            ids = Ids([_bytes(found), theirs[~in_shard(theirs, shard)]])
        if dataset.replace_listing(ids.to_arrow(), version=version, token=token):
            return


def _bytes(ids: Ids) -> NDArray[np.bytes_]:
    return id_bytes(pa.chunked_array([ids.to_arrow()]))
