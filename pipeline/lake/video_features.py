"""The features of a lake, video by video: what heads are trained on, and what they predict from.

What is there is told by the footers when this is made, and stays so however the lake grows meanwhile. It takes some
eighty bytes a segment; rows are read in groups of videos of about ``GROUP_BYTES``, each in one go.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.catalogue import Catalogue
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.ids import ID_BYTES, KEY_BYTES, find_places, id_bytes
from pipeline.lake.known_videos import KnownVideos
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import PlannedSegments
from pipeline.lake.placed_rows import PlacedRows
from pipeline.lake.planned import Planned
from pipeline.lake.video_groups import PlacedVideos, VideoFeatures, VideoGroup
from pipeline.records.heads import Backbone

GROUP_BYTES = 64 << 20
_KEY_BYTES_A_ROW = 24


class LakeFeatures:
    """The features of a dataset, or of a folder of datasets of several models, joined by (video, epoch, pts).

    Attributes:
        uri: of the dataset, or of the folder.
        datasets: one, or those of the folder in the order of their names.
        infos: how each of them was made.
        ids: of the videos that are current and have a sample in each dataset, as ``ids.id_bytes`` gives them, in the
            order in which their rows lie in the files; that is the order of reading.
    """

    def __init__(self, uri: str, datasets: tuple[Dataset, ...], infos: tuple[DatasetInfo, ...]) -> None:
        self.uri = uri
        self.datasets = datasets
        self.infos = infos
        self._videos = tuple(VideosOfDataset.of(dataset) for dataset in datasets)
        first, *others = self._videos
        ids = first.in_order()
        for other in others:
            ids = ids[other.num_samples(ids) > 0]
        for videos in self._videos:
            ids = ids[videos.known.are_current(ids)]
        self.ids: NDArray[np.bytes_] = ids

    @classmethod
    def at(cls, uri: str) -> Self:
        """The features at ``uri``.

        Raises:
            UsageError: there is neither a dataset nor a folder of datasets.
            ForeignFile: what lies among the features is not ours, or damaged.
            StorageError: the store failed.
        """
        dataset = Dataset.at(uri)
        info = dataset.info()
        if info is not None:
            return cls(dataset.store.uri, (dataset,), (info,))
        names = [name for name in dataset.store.folders("") if name[0] not in "._"]
        within = [Dataset.at(f"{uri.rstrip('/')}/{name}") for name in names]
        found = [(each, known) for each in within if (known := each.info()) is not None]
        if not found:
            dataset.existing()
        datasets, infos = zip(*found, strict=True)
        return cls(dataset.store.uri, datasets, infos)

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """Whose features these are, in the order in which they stand side by side."""
        return tuple(map(backbone_of, self.infos))

    @property
    def dim(self) -> int:
        """Length of the vector of a sample."""
        return sum(info.config.model.dim for info in self.infos)

    @property
    def sample(self) -> str:
        """The sampling rule.

        Raises:
            UsageError: the datasets of the folder have different ones.
        """
        rules = list(dict.fromkeys(info.config.sample for info in self.infos))
        if len(rules) > 1:
            raise UsageError(f"the datasets in {self.uri} were sampled in different ways: {' and '.join(rules)}")
        return rules[0]

    @property
    def digest(self) -> str:
        """What tells the settled segments of the current videos, however they are spread over files."""
        digest = hashlib.sha256()
        for info, videos in zip(self.infos, self._videos, strict=True):
            digest.update(info.config.fingerprint.encode())
            videos.add_to(digest, np.sort(self.ids))
        return digest.hexdigest()

    def num_samples(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """How many samples each of these videos has, or with several datasets may have at most."""
        counts: NDArray[np.int64] = np.minimum.reduce([videos.num_samples(ids) for videos in self._videos])
        return counts

    def are_settled(self, ids: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Whether all segments that the plan has of these videos are settled; without a plan, what is there is all."""
        is_settled = np.ones(len(ids), np.bool_)
        for dataset, videos in zip(self.datasets, self._videos, strict=True):
            is_settled &= find_places(_unsettled(dataset, videos.ledger), ids) < 0
        return is_settled

    def groups(
        self, ids: NDArray[np.bytes_] | None = None, *, with_features: bool = True, group_bytes: int = GROUP_BYTES
    ) -> Iterator[VideoGroup]:
        """The videos, or those of ``ids`` in their order, in groups of about so many bytes, and at least one video."""
        ids = self.ids if ids is None else ids
        row_bytes = _KEY_BYTES_A_ROW + (4 * self.dim if with_features else 0)
        sizes = self.num_samples(ids) * row_bytes
        numbers = (np.cumsum(sizes) - sizes) // group_bytes
        edges = np.flatnonzero(np.diff(numbers)) + 1
        for some in np.split(ids, edges) if len(ids) else []:
            yield self._group(some)

    def read(
        self, ids: NDArray[np.bytes_] | None = None, *, with_features: bool = True, group_bytes: int = GROUP_BYTES
    ) -> Iterator[VideoFeatures]:
        """The videos, or those of ``ids`` in their order, one after the other.

        Args:
            ids: some of ``self.ids``.
            with_features: the features too; times alone are cheap.
            group_bytes: of what is held at once, about.

        Raises:
            ForeignFile: a file is damaged.
            StorageError: a store failed.
        """
        files = [dataset.files for dataset in self.datasets]
        dims = [info.config.model.dim if with_features else 0 for info in self.infos]
        for group in self.groups(ids, with_features=with_features, group_bytes=group_bytes):
            yield from group.read(files, dims=dims)

    def _group(self, ids: NDArray[np.bytes_]) -> VideoGroup:
        known = [videos.known for videos in self._videos]
        return VideoGroup(
            video_ids=tuple(ids.astype(f"U{ID_BYTES}").tolist()),
            end_s=np.fmin.reduce([each.ends_of(ids) for each in known]),
            recorded_s=np.fmin.reduce([each.recorded_of(ids) for each in known]),
            states=tuple(".".join(states) for states in zip(*(v.states(ids) for v in self._videos), strict=True)),
            placed=tuple(videos.placed(ids) for videos in self._videos),
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
        ids = _video_ids(catalogue.ledger.keys)
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
        digest.update(self.ledger.keys[places].tobytes())
        digest.update(self._entries(places).tobytes())

    def _entries(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        segments = np.ascontiguousarray(self.ledger.keys[places]).view(np.uint8).reshape(-1, KEY_BYTES)[:, ID_BYTES:]
        numbers = np.ascontiguousarray(segments).view(">u4").reshape(-1).astype(np.int32)
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


def backbone_of(info: DatasetInfo) -> Backbone:
    """Whose features a dataset holds."""
    config = info.config
    return Backbone(model=config.model, weights=info.weights, precision=config.precision, dtype=config.dtype)


def _video_ids(keys: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    split = keys.view(np.uint8).reshape(-1, KEY_BYTES)[:, :ID_BYTES]
    return np.ascontiguousarray(split).view(f"S{ID_BYTES}").reshape(-1)


def _unsettled(dataset: Dataset, ledger: Ledger) -> NDArray[np.bytes_]:
    """The videos of the plan that have a segment which is not settled, sorted."""
    parts = [np.empty(0, f"S{ID_BYTES}")]
    for _, part in Planned(dataset).parts(["video_id", "segments"]):
        segments = PlannedSegments(part, ledger)
        rows = np.unique(segments.owner[segments.at < 0])
        parts.append(id_bytes(part["video_id"])[rows])
    return np.unique(np.concatenate(parts))
