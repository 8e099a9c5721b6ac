"""Which videos the input holds now: the ground of ``is_current``."""

import pyarrow as pa

from pipeline.config import Shard
from pipeline.dataset import Dataset
from pipeline.ledger import Ids, Planned, id_bytes


def listed(dataset: Dataset) -> Ids | None:
    """The videos that the input last held; ``None``: that is not known."""
    listing = dataset.listing()
    return None if listing is None else Ids([id_bytes(listing)])


def publish_listed(dataset: Dataset, found: Ids, *, shard: Shard, token: str) -> None:
    """Remember that of the shard's videos the input holds those ``found``; about other shards' nothing changes."""
    while True:
        version = dataset.listing_version()
        parts = [found.to_arrow()]
        if shard.count > 1:
            known = listed(dataset)
            known = Planned(dataset).ids if known is None else known
            others = [each for each in known.to_arrow().to_pylist() if not shard.holds(each)]
            parts.append(pa.array(others, pa.string()))
        ids = Ids([id_bytes(pa.chunked_array(parts))])
        if dataset.replace_listing(ids.to_arrow(), version=version, token=token):
            return
