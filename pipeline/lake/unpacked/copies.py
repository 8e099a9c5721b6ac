"""The unpacked copies of a dataset's features files: where they lie, which are there, and making those that are not.

They lie in the dataset's own ``_vidlake/search``, or in the user's cache folder where that cannot be written to or is
no folder of this machine. Whoever removes them loses nothing but the time to make them again.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.appended_file import read_footer
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.publishing import temporaries
from pipeline.lake.publishing.store import MissingFile
from pipeline.lake.unpacked.array_file import BadArrayFile, DiskRefused, open_arrays, written_arrays
from pipeline.lake.unpacked.feature_rows import FeatureRows
from pipeline.lake.unpacked.parquet_parts import FileParts
from pipeline.lake.unpacked.row_file import open_rows, row_bytes, write_rows
from pipeline.storage.addresses import is_local
from pipeline.storage.local import find_path

Say = Callable[[str], None]

FOLDER = "_vidlake/search"
_ENDING = ".rows"
_NEW = ".new"
"""Of a copy that the disk may not have yet: it counts until the machine starts anew."""
_WRITTEN_AFTER_S = 60.0
"""By then the system has written a new copy to the disk, or nearly so: to wait for that at once would take as long."""
_SPARE = 1.05
"""Of the space that copies take: a disk is not filled to its last byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesFile:
    """A features file, and what tells it from every other one."""

    name: str
    version: str
    key: str
    """Of its copy: what it is named by."""


class Copies:
    """The copies of one dataset. Safe to use from many threads.

    Attributes:
        folder: where they lie; ``None``: they can be kept nowhere.
        configuration: how the features were made: what was made otherwise is not theirs.
    """

    def __init__(self, dataset: Dataset, info: DatasetInfo) -> None:
        self._dataset = dataset
        self._dim = info.config.model.dim
        self._dtype = info.config.dtype
        self.configuration = json.dumps(info.config.to_json(), sort_keys=True)
        self.folder = _writable_folder(dataset.store.uri)
        self._opened: dict[str, FeatureRows] = {}
        self._lock = threading.Lock()

    @property
    def index_folder(self) -> Path | None:
        """Where an index over these copies lies: beside them in the dataset, else among them."""
        if self.folder is None:
            return None
        is_inside = self.folder.parent.name == FOLDER.partition("/")[0]
        return self.folder.parent / "index" if is_inside else self.folder / "index"

    def files(self) -> list[FeaturesFile]:
        """The features files that are there now.

        Raises:
            StorageError: the store failed.
        """
        there = set(self._dataset.features.names())
        versions = self._dataset.store.versions(self._dataset.features.name)
        return [
            FeaturesFile(name=name, version=version, key=self._key(name, version))
            for name, version in sorted(versions.items())
            if name in there
        ]

    def opened(self, file: FeaturesFile) -> FeatureRows | None:
        """The copy of a file, mapped; ``None``: there is none yet."""
        if self.folder is None:
            return None
        with self._lock:
            rows = self._opened.get(file.key)
        if rows is None:
            rows = self._open(self._path(file)) or self._open(self._new_path(file))
            if rows is not None:
                with self._lock:
                    rows = self._opened.setdefault(file.key, rows)
        return rows

    def _open(self, path: Path) -> FeatureRows | None:
        try:
            return open_rows(path, dim=self._dim, dtype=self._dtype)
        except FileNotFoundError:
            return None
        except (BadArrayFile, OSError):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def beside(self, file: FeaturesFile, name: str, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """A number for each row of a file, kept beside its copy; computed where it is not there.

        ``name`` tells it from all others; what cannot be kept is computed each time.
        """
        assert self.folder is not None
        path = self.folder / f"{file.key}.{name}{_ENDING}"
        rows = self.opened(file)
        with contextlib.suppress(BadArrayFile, OSError, KeyError):
            numbers = open_arrays(path)[1]["numbers"]
            if rows is not None and numbers.shape == (len(rows),) and numbers.dtype == np.float32:
                return numbers
        numbers = compute()
        temporary = self.folder / "tmp" / f"{path.name}.{uuid.uuid4().hex}"
        with contextlib.suppress(DiskRefused), written_arrays(path, temporary=temporary) as writer:
            writer.add("numbers", numbers)
            writer.close({})
        return numbers

    def forget(self, files: Sequence[FeaturesFile]) -> None:
        """Let go of all copies but those of ``files``, and remove what is left of features files that are gone."""
        keys = {file.key for file in files}
        with self._lock:
            for key in self._opened.keys() - keys:
                del self._opened[key]
        if self.folder is not None:
            with contextlib.suppress(OSError):
                for path in [*self.folder.glob(f"*{_ENDING}"), *self.folder.glob(f"*{_NEW}")]:
                    key, *boot = path.name.removesuffix(_NEW).split(".")
                    if key not in keys or (path.suffix == _NEW and boot != [_boot()]):
                        path.unlink(missing_ok=True)

    def make(self, files: Sequence[FeaturesFile], *, say: Say) -> bool:
        """Make the copies that are missing; ``say`` is told first what they take.

        Returns:
            Whether all are there now; False: there is no room for them, or another process is at it.

        Raises:
            ForeignFile: a features file is damaged.
            StorageError: the store failed.
        """
        missing = [file for file in files if self.opened(file) is None]
        self._settle(files)
        if not missing:
            return True
        if self.folder is None:
            return False
        with self.alone() as is_alone:
            if not is_alone:
                return False
            self.forget(files)
            temporaries.clear(self.folder / "tmp")
            needed = self._needed_bytes(missing)
            room = shutil.disk_usage(self.folder).free
            if needed * _SPARE > room:
                say(
                    f"{self.folder} has no room for {needed / 1e6:.0f} MB of unpacked features: Parquet is read instead"
                )
                return False
            say(f"unpacking {needed / 1e6:.1f} MB of features into {self.folder}, once; it can be removed at any time")
            return self._make(missing)

    def parts(self, file: FeaturesFile, how: Callable[[FileParts], None]) -> None:
        """Read a file as Parquet; ``how`` may be called again from the beginning where the store fails in between.

        Raises:
            ForeignFile: it is damaged.
            StorageError: the store failed.
        """
        uri = self._dataset.files.uri(file.name)
        self._dataset.files.read(file.name, lambda opened: how(FileParts(opened, uri=uri, dim=self._dim)))

    def _make(self, missing: Sequence[FeaturesFile]) -> bool:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="unpack") as pool:
            return all(list(pool.map(self._made, missing)))

    def _made(self, file: FeaturesFile) -> bool:
        assert self.folder is not None
        temporary = self.folder / "tmp" / f"{file.key}.{uuid.uuid4().hex}"
        write = partial(write_rows, self._new_path(file), dim=self._dim, dtype=self._dtype, temporary=temporary)
        uri = self._dataset.files.uri(file.name)
        try:
            self._dataset.files.read(file.name, lambda opened: write(FileParts(opened, uri=uri, dim=self._dim)))
        except (MissingFile, DiskRefused):
            return False
        return True

    def _settle(self, files: Sequence[FeaturesFile]) -> None:
        """Give new copies their final names, once the disk has them."""
        for path, new in ((self._path(file), self._new_path(file)) for file in files) if self.folder else ():
            with contextlib.suppress(OSError):
                if time.time() - new.stat().st_mtime > _WRITTEN_AFTER_S:
                    with open(new, "rb") as written:
                        os.fdatasync(written.fileno())
                    os.replace(new, path)

    def _needed_bytes(self, files: Sequence[FeaturesFile]) -> int:
        names = [file.name for file in files]
        counts = [footer.num_rows for _, footer in self._dataset.files.read_each(names, read_footer)]
        return sum(counts) * row_bytes(dim=self._dim, dtype=self._dtype)

    def _key(self, name: str, version: str) -> str:
        return hashlib.sha256(f"{name}\n{version}\n{self.configuration}".encode()).hexdigest()[:32]

    def _path(self, file: FeaturesFile) -> Path:
        assert self.folder is not None
        return self.folder / f"{file.key}{_ENDING}"

    def _new_path(self, file: FeaturesFile) -> Path:
        assert self.folder is not None
        return self.folder / f"{file.key}.{_boot()}{_NEW}"

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this process alone makes copies, as long as the context is open."""
        assert self.folder is not None
        with open(self.folder / "tmp" / "making.lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    yield False
                    return
            yield True


def _writable_folder(uri: str) -> Path | None:
    """Where copies of the dataset at ``uri`` can be kept."""
    names = [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidlake" / "search" / _digest(uri)]
    if is_local(uri):
        names.insert(0, Path(find_path(uri)) / FOLDER)
    for folder in names:
        try:
            (folder / "tmp").mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder / "tmp", os.W_OK):
            return folder
    return None


@functools.cache
def _boot() -> str:
    """What tells this start of the machine from every other one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return uuid.uuid4().hex  # then copies count for this process alone, until they have their final names


def _digest(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:24]
