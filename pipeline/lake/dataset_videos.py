"""The videos of one dataset, by what its footers and its plan tell: where their rows lie, and what is still to come."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.lake.catalogue import Catalogue
from pipeline.lake.dataset import Dataset
from pipeline.lake.known_videos import KnownVideos
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import PlannedSegments
from pipeline.lake.placed_rows import PlacedRows
from pipeline.lake.planned import Planned
from pipeline.lake.video_groups import PlacedVideos
from pipeline.records.ids import (
    KEY_BYTES,
    find_places,
    id_bytes,
    ids_of_keys,
    segment_keys,
    segments_of_keys,
    spelled_keys,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideosOfDataset:
    """The videos of one dataset, by the footers of its features files."""

    catalogue: Catalogue
    known: KnownVideos
    ids: NDArray[np.bytes_]
    """Sorted, each once."""
    ends: NDArray[np.int64]
    """The place in the catalogue after the last segment of each video; its first is where the one before ends."""

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """What is settled now.

        Raises:
            ForeignFile: what lies among the features is not ours, or damaged.
        """
        catalogue = Catalogue.of(dataset.features)
        ids = ids_of_keys(catalogue.ledger.keys)
        is_last = np.append(ids[1:] != ids[:-1], True)[: len(ids)]
        return cls(
            catalogue=catalogue,
            known=KnownVideos.of(dataset.files),
            ids=ids[is_last],
            ends=np.flatnonzero(is_last) + 1,
        )

    @property
    def ledger(self) -> Ledger:
        """How each segment ended."""
        return self.catalogue.ledger

    def in_order(self) -> NDArray[np.bytes_]:
        """The videos that have a sample, in the order in which their first rows lie in the files."""
        places = np.flatnonzero(self.ledger.num_samples > 0)
        owners, at = np.unique(np.searchsorted(self.ends, places, side="right"), return_index=True)
        firsts = places[at]
        return self.ids[owners[np.lexsort((self.catalogue.first[firsts], self.catalogue.file[firsts]))]]

    def num_samples(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Of each of these videos; 0 where it has none, or is not there."""
        sums = np.append(0, np.cumsum(self.ledger.num_samples, dtype=np.int64))
        at = find_places(self.ids, ids)
        return np.where(at >= 0, sums[self._ends(at)] - sums[self._begins(at)], 0)

    def placed(self, ids: NDArray[np.bytes_]) -> PlacedVideos:
        """Where the rows of these videos lie, all of which are there."""
        places, counts = self._places(ids)
        files, file = np.unique(self.catalogue.file[places], return_inverse=True)
        rows = PlacedRows(
            names=tuple(self.catalogue.names[number] for number in files),
            file=file.astype(np.int32),
            first=self.catalogue.first[places],
            count=self.catalogue.num_rows(places),
        )
        return PlacedVideos(rows=rows, span_ends=np.cumsum(counts))

    def states(self, ids: NDArray[np.bytes_]) -> list[str]:
        """What tells the settled segments of each video, all of which are there."""
        places, counts = self._places(ids)
        entries = self._entries(places)
        return [hashlib.sha256(part.tobytes()).hexdigest()[:16] for part in np.split(entries, np.cumsum(counts)[:-1])]

    def add_to(self, digest: "hashlib._Hash", ids: NDArray[np.bytes_]) -> None:
        """Have the digest tell the settled segments of these videos, in their order."""
        places, _ = self._places(ids)
        digest.update(spelled_keys(self.ledger.keys[places]))
        digest.update(self._entries(places).tobytes())

    def _entries(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        # Counted from 1, as in a key: digests of lakes and states of predictions that exist are made of these bytes.
        numbers = (segments_of_keys(self.ledger.keys[places]) + 1).astype(np.int32)
        return np.stack([numbers, self.ledger.attempts[places], self.ledger.num_samples[places]], axis=1)

    def _places(self, ids: NDArray[np.bytes_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places of the segments of these videos, and how many each has."""
        at = find_places(self.ids, ids)
        begins = self._begins(at)
        counts = self._ends(at) - begins
        return np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum()), counts

    def _ends(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.ends[at] if len(self.ends) else np.zeros(len(at), np.int64)

    def _begins(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(at > 0, self._ends(at - 1), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsettledSegments:
    """The segments of a dataset's plan that are not settled yet."""

    keys: NDArray[np.bytes_]
    """As ``ids.segment_keys`` gives them, sorted."""
    start_s: NDArray[np.float64]
    """When each begins, as planned."""

    @classmethod
    def of(cls, dataset: Dataset, ledger: Ledger) -> Self:
        """Those that a ledger lacks; none where there is no plan."""
        keys, starts = [np.empty(0, f"S{KEY_BYTES}")], [np.empty(0)]
        for _, part in Planned(dataset).parts(["video_id", "segments"]):
            segments = PlannedSegments(part, ledger)
            is_open = segments.at < 0
            index, start_s = (
                pc.struct_field(segments.values, name).to_numpy(zero_copy_only=False)[is_open]
                for name in ("index", "start_s")
            )
            keys.append(segment_keys(id_bytes(part["video_id"])[segments.owner[is_open]], index))
            starts.append(start_s)
        all_keys = np.concatenate(keys)
        order = np.argsort(all_keys, kind="stable")
        return cls(keys=all_keys[order], start_s=np.concatenate(starts)[order])
