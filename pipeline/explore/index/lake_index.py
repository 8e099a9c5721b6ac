"""The index of a dataset: which groups there are, which files they cover, how many of their lists are looked through.

A group appears whole under its name, and counts while all of its files are still there; the settings are written last.
Whatever is missing of it, searches compare rows one by one.
"""

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StorageError
from pipeline.explore.index.building import build_group
from pipeline.explore.index.group import ENDING, Group, covering
from pipeline.explore.index.lookup import Lookup
from pipeline.explore.index.measuring import Measured, measured
from pipeline.lake.publishing import temporaries
from pipeline.lake.unpacked.array_file import BadArrayFile, DiskRefused
from pipeline.lake.unpacked.copies import Copies, FeaturesFile, Say
from pipeline.lake.unpacked.feature_rows import FeatureRows
from pipeline.records.documents import Document, document_of, number, text, whole

_GROUP_ROWS = 1 << 18
"""Of a group, about: an index grows by groups, and what is made anew for a new file is bounded."""
_SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """What an index covers now."""

    lookup: Lookup
    keys: frozenset[str]
    """Of the files that it covers."""
    num_rows: int
    num_probes: int
    num_exact: int
    recall: float
    """As it was measured when the index was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What ``vidlake index`` did."""

    folder: str
    num_rows: int
    num_groups: int
    num_new_groups: int
    num_bytes: int
    measured: Measured

    def to_json(self) -> Document:
        """What it prints."""
        return {
            "folder": self.folder,
            "rows": self.num_rows,
            "groups": self.num_groups,
            "new_groups": self.num_new_groups,
            "bytes": self.num_bytes,
            "recall@10": self.measured.recall,
            "num_queries": self.measured.num_queries,
            "num_probes": self.measured.num_probes,
            "num_exact": self.measured.num_exact,
        }


class LakeIndex:
    """The index of one dataset. Safe to use from many threads."""

    def __init__(self, copies: Copies, *, dim: int) -> None:
        self._copies = copies
        self._dim = dim
        self._configuration = hashlib.sha256(copies.configuration.encode()).hexdigest()
        self._lock = threading.Lock()
        self._opened: dict[str, Group | None] = {}

    @property
    def folder(self) -> Path | None:
        """Where it lies; ``None``: nothing can be kept."""
        return self._copies.index_folder

    def indexed(self, rows: Mapping[str, FeatureRows]) -> Indexed | None:
        """What the index covers of some files, which are given by their keys; ``None``: nothing."""
        settings = self._settings()
        groups = [] if settings is None else covering(self._groups(), set(rows))
        if settings is None or not groups:
            return None
        keys = frozenset(key for group in groups for key in group.keys)
        return Indexed(
            lookup=Lookup(groups, rows),
            keys=keys,
            num_rows=sum(map(len, groups)),
            num_probes=whole(settings, "num_probes"),
            num_exact=whole(settings, "num_exact"),
            recall=float(number(settings, "recall")),
        )

    def build(self, files: Sequence[tuple[FeaturesFile, FeatureRows]], *, say: Say) -> Built:
        """Index what is not indexed yet, and measure the whole against the exact search.

        Args:
            files: of the dataset, all of them unpacked.
            say: is told what is being done.

        Raises:
            StorageError: the disk is full, or another process is at it.
        """
        if self.folder is None:
            raise StorageError("there is no folder where an index could be kept: set XDG_CACHE_HOME to one")
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        with self._copies.alone() as is_alone:
            if not is_alone:
                raise StorageError(f"{self.folder}: another process is making it: wait for it")
            temporaries.clear(self.folder / "tmp")
            return self._build(self.folder, files, say)

    def _build(self, folder: Path, files: Sequence[tuple[FeaturesFile, FeatureRows]], say: Say) -> Built:
        by_key = {file.key: (file, rows) for file, rows in files if len(rows)}
        kept = covering(self._groups(), set(by_key))
        covered = {key for group in kept for key in group.keys}
        is_new = any(key not in covered for key in by_key)
        small = [group for group in kept if len(group) < _GROUP_ROWS // 2]
        if is_new or len(small) > 1:
            covered -= {key for group in small for key in group.keys}
            kept = [group for group in kept if group not in small]
        left = [pair for key, pair in by_key.items() if key not in covered]
        made = _grouped(left)
        for at, pairs in enumerate(made, 1):
            say(f"group {at} of {len(made)}: {sum(len(rows) for _, rows in pairs)} rows")
            kept.append(self._made(folder, pairs))
        for path in folder.glob(f"*{ENDING}"):
            if path not in {group.path for group in kept}:
                path.unlink(missing_ok=True)
        lookup = Lookup(kept, {key: rows for key, (_, rows) in by_key.items()})
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="measure") as pool:
            found = measured(lookup, [rows for _, rows in by_key.values()], pool=pool)
        self._write_settings(folder, found)
        return Built(
            folder=str(folder),
            num_rows=sum(map(len, kept)),
            num_groups=len(kept),
            num_new_groups=len(made),
            num_bytes=sum(group.path.stat().st_size for group in kept),
            measured=found,
        )

    def _made(self, folder: Path, pairs: Sequence[tuple[FeaturesFile, FeatureRows]]) -> Group:
        name = hashlib.sha256("\n".join(sorted(file.key for file, _ in pairs)).encode()).hexdigest()[:32]
        path, temporary = folder / f"{name}{ENDING}", folder / "tmp" / uuid.uuid4().hex
        try:
            build_group(path, pairs, configuration=self._configuration, temporary=temporary)
            return Group.open(path, dim=self._dim, configuration=self._configuration)
        except (DiskRefused, BadArrayFile, OSError) as error:
            raise StorageError(f"{folder}: the index cannot be kept here: {error}") from None

    def _groups(self) -> list[Group]:
        if self.folder is None:
            return []
        paths = sorted(self.folder.glob(f"*{ENDING}"))
        with self._lock:
            self._opened = {path.name: self._opened.get(path.name) or self._open(path) for path in paths}
            return [group for group in self._opened.values() if group is not None]

    def _open(self, path: Path) -> Group | None:
        try:
            return Group.open(path, dim=self._dim, configuration=self._configuration)
        except (BadArrayFile, OSError):
            return None

    def _settings(self) -> Document | None:
        try:
            data = b"" if self.folder is None else (self.folder / _SETTINGS).read_bytes()
            settings = document_of(json.loads(data), name="the settings")
            is_ours = (
                text(settings, "configuration") == self._configuration
                and min(whole(settings, name) for name in ("num_probes", "num_exact")) > 0
            )
            number(settings, "recall")
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return settings if is_ours else None

    def _write_settings(self, folder: Path, found: Measured) -> None:
        document = {
            "configuration": self._configuration,
            "num_probes": found.num_probes,
            "num_exact": found.num_exact,
            "recall": found.recall,
        }
        temporary = folder / "tmp" / uuid.uuid4().hex
        try:
            temporary.write_text(json.dumps(document))
            os.replace(temporary, folder / _SETTINGS)
        except OSError as error:
            raise StorageError(f"{folder}: the index cannot be kept here: {error.strerror}") from None


def _grouped(files: Sequence[tuple[FeaturesFile, FeatureRows]]) -> list[list[tuple[FeaturesFile, FeatureRows]]]:
    """Files in groups of about ``_GROUP_ROWS``, in their order."""
    groups: list[list[tuple[FeaturesFile, FeatureRows]]] = []
    size = 0
    for pair in files:
        if not groups or size + len(pair[1]) > _GROUP_ROWS:
            groups.append([])
            size = 0
        groups[-1].append(pair)
        size += len(pair[1])
    return groups
