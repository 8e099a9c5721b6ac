"""The features of a lake, video by video: what heads are trained on, and what they predict from.

What is there is told by the footers when it is first asked for, and stays so however the lake grows meanwhile. It takes
some eighty bytes a segment; rows are read in groups of videos of about ``GROUP_BYTES``, each in one go.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.dataset_videos import UnsettledSegments, VideosOfDataset
from pipeline.lake.model_folders import datasets_within
from pipeline.lake.placed_rows import ROW_BYTES
from pipeline.lake.video_groups import VideoFeatures, VideoGroup
from pipeline.records.heads import Backbone, HeadInfo
from pipeline.records.ids import ID_BYTES, find_places, ids_of_keys

GROUP_BYTES = 64 << 20


class LakeFeatures:
    """The features of a dataset, or of a folder of datasets of several models, joined by (video, epoch, pts).

    Attributes:
        uri: of the dataset, or of the folder.
        datasets: one, or those of the folder in the order of their names.
        infos: how each of them was made.
    """

    def __init__(self, uri: str, datasets: tuple[Dataset, ...], infos: tuple[DatasetInfo, ...]) -> None:
        self.uri = uri
        self.datasets = datasets
        self.infos = infos

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
        within = [each for name, each in datasets_within(uri).items() if name[0] != "_"]
        if not within:
            dataset.existing()
        datasets, infos = zip(*within, strict=True)
        return cls(dataset.store.uri, datasets, infos)

    @cached_property
    def videos(self) -> tuple[VideosOfDataset, ...]:
        """What each dataset holds, by its footers when this is first asked for."""
        return tuple(VideosOfDataset.of(dataset) for dataset in self.datasets)

    @cached_property
    def ids(self) -> NDArray[np.bytes_]:
        """The videos that are current and have a sample in each dataset, as ``ids.id_bytes`` gives them.

        They come in the order in which their rows lie in the files: that is the order of reading.
        """
        first, *others = self.videos
        ids = first.in_order()
        for other in others:
            ids = ids[other.num_samples(ids) > 0]
        for videos in self.videos:
            ids = ids[videos.known.are_current(ids)]
        return ids

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

    def require_fit(self, info: HeadInfo, *, head: str) -> None:
        """Make sure that a head takes these features; ``head``: its name and version.

        Raises:
            UsageError: it takes those of another fingerprint; both are named.
        """
        fingerprint = "+".join(backbone.fingerprint for backbone in self.backbones)
        if fingerprint != info.fingerprint:
            theirs, ours = ("+".join(each.model.name for each in of) for of in (info.backbones, self.backbones))
            raise UsageError(
                f"head {head} takes features of fingerprint {info.fingerprint} ({theirs}), those of {self.uri} have "
                f"{fingerprint} ({ours}): give a head that was trained on such features, or another lake"
            )

    @property
    def digest(self) -> str:
        """What tells the settled segments of the current videos, however they are spread over files."""
        digest = hashlib.sha256()
        for info, videos in zip(self.infos, self.videos, strict=True):
            digest.update(info.config.fingerprint.encode())
            videos.add_to(digest, np.sort(self.ids))
        return digest.hexdigest()

    def recorded_of(self, ids: NDArray[np.bytes_]) -> NDArray[np.float64]:
        """When the first frames of these videos were recorded, in seconds since the Unix epoch; NaN: not known."""
        recorded_s: NDArray[np.float64] = np.fmin.reduce([videos.known.recorded_of(ids) for videos in self.videos])
        return recorded_s

    def ends_of(self, ids: NDArray[np.bytes_]) -> NDArray[np.float64]:
        """Where these videos end, on the axis of ``time_s``; NaN: not known."""
        end_s: NDArray[np.float64] = np.fmin.reduce([videos.known.ends_of(ids) for videos in self.videos])
        return end_s

    def num_samples(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """How many samples each of these videos has, or with several datasets may have at most."""
        counts: NDArray[np.int64] = np.minimum.reduce([videos.num_samples(ids) for videos in self.videos])
        return counts

    def are_settled(self, ids: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Whether all segments that the plan has of these videos are settled; without a plan, what is there is all."""
        is_settled = np.ones(len(ids), np.bool_)
        for dataset, videos in zip(self.datasets, self.videos, strict=True):
            unsettled = np.unique(ids_of_keys(UnsettledSegments.of(dataset, videos.ledger).keys))
            is_settled &= find_places(unsettled, ids) < 0
        return is_settled

    def states(self, ids: NDArray[np.bytes_]) -> list[str]:
        """What tells the settled segments of each of these videos from those that it has after a retry."""
        return [".".join(states) for states in zip(*(videos.states(ids) for videos in self.videos), strict=True)]

    def groups(
        self, ids: NDArray[np.bytes_] | None = None, *, with_features: bool = True, group_bytes: int = GROUP_BYTES
    ) -> Iterator[VideoGroup]:
        """The videos, or those of ``ids`` in their order, in groups of about so many bytes.

        A video that is larger than that is a group by itself: see ``LongVideo``.
        """
        ids = self.ids if ids is None else ids
        row_bytes = ROW_BYTES + (4 * self.dim if with_features else 0)
        sizes = self.num_samples(ids) * row_bytes
        numbers, is_large = (np.cumsum(sizes) - sizes) // group_bytes, sizes > group_bytes
        edges = np.flatnonzero(np.diff(numbers).astype(np.bool_) | is_large[1:] | is_large[:-1]) + 1
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
        return VideoGroup(
            video_ids=tuple(ids.astype(f"U{ID_BYTES}").tolist()),
            end_s=self.ends_of(ids),
            dated_s=np.fmin.reduce([videos.known.dated_of(ids) for videos in self.videos]),
            states=tuple(self.states(ids)),
            placed=tuple(videos.placed(ids) for videos in self.videos),
        )


def backbone_of(info: DatasetInfo) -> Backbone:
    """Whose features a dataset holds."""
    config = info.config
    return Backbone(model=config.model, weights=info.weights, precision=config.precision, dtype=config.dtype)
