"""The labelled units of each part on a local disk, as a head will see them, so that memory does not grow with the lake.

Files are written from front to back, and read once they are whole.
"""

import contextlib
import errno
import getpass
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing import temporaries
from pipeline.models.heads.pooling import pool
from pipeline.models.heads.steps import Step, apply_steps
from pipeline.training.examples import PARTS, Examples, VideoExamples
from pipeline.training.fitting.stored_rows import StoredRows

Features = NDArray[np.float32]

_MOST_NUMBERS = 1 << 22
"""Of the rows that are in memory together."""


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder on a local disk, removed at the end; what killed runs left beside it is removed first.

    Args:
        parent: of the folder; without it one in the machine's folder for temporary files.

    Raises:
        UsageError: it cannot be made.
        StorageError: the disk is full.
    """
    parent = parent or Path(tempfile.gettempdir()) / f"vidlake-train-{getpass.getuser()}"
    folder = parent / uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporaries.clear(parent)
            stack.enter_context(temporaries.created_folder(folder))
        except OSError as error:
            raise disk_error(error, folder=parent) from None
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def disk_error(error: OSError, *, folder: Path) -> StorageError | UsageError:
    """What a local disk's refusal counts as."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"{folder}: no space left for the training's files: free some, or set TMPDIR to another disk"
        )
    return UsageError(f"{folder}: cannot keep the training's files here ({error.strerror}): set TMPDIR to another disk")


class Part:
    """The units of one part.

    Attributes:
        rows: one vector a unit, or the samples of all units.
        begin: ``int64[U]``: where in ``rows`` each unit begins.
        end: ``int64[U]``: one past its last row.
        targets: ``float32[U, C]``.
        groups: ``int64[U]``.
        is_sequences: whether units are ranges of rows.
    """

    def __init__(self, folder: Path, *, dim: int, num_labels: int, is_sequences: bool) -> None:
        self.rows = StoredRows(folder / "rows", dim=dim)
        self.targets: Features = _mapped(folder / "targets", np.float32, width=num_labels)
        self.groups: NDArray[np.int64] = _mapped(folder / "groups", np.int64)
        self.begin: NDArray[np.int64] = _mapped(folder / "begin", np.int64)
        self.end: NDArray[np.int64] = _mapped(folder / "end", np.int64)
        self.is_sequences = is_sequences

    def __len__(self) -> int:
        return len(self.begin)

    def stretches(self, places: NDArray[np.int64] | None = None) -> Iterator[NDArray[np.int64]]:
        """All units, or those at some places, so many at a time as memory is meant to take."""
        places = np.arange(len(self)) if places is None else places
        costs = np.cumsum((self.end[places] - self.begin[places]) * self.rows.shape[1])
        start = 0
        while start < len(places):
            spent = int(costs[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(costs, spent + _MOST_NUMBERS, side="right")))
            yield places[start:stop]
            start = stop

    def units(self, places: NDArray[np.int64]) -> tuple[Features, NDArray[np.int64], NDArray[np.int64]]:
        """The rows ``float32[R, D]`` of some units, and where each unit begins and ends among them."""
        lengths = np.asarray(self.end[places] - self.begin[places])
        ends = np.cumsum(lengths)
        if not self.is_sequences:
            return self.rows.take(np.asarray(self.begin[places])), ends - lengths, ends
        begins = np.asarray(self.begin[places])
        spans = [self.rows.span(*edges) for edges in zip(begins.tolist(), (begins + lengths).tolist(), strict=True)]
        return np.concatenate(spans), ends - lengths, ends


def write_parts(
    examples: Examples, steps: Sequence[Step], *, pool_ways: Sequence[str], is_sequences: bool, folder: Path
) -> dict[str, Part]:
    """Read the lake once and keep what the head will see of it.

    Args:
        examples: the labelled units.
        steps: fitted.
        pool_ways: how the samples of a unit become one vector.
        is_sequences: keep the samples instead.
        folder: an empty one, on a local disk.

    Returns:
        By the names in ``PARTS``; a part may have no units.

    Raises:
        UsageError: a feature is not a finite number; the video is named.
        StorageError: the disk is full, or the lake's store failed.
    """
    dim = num_labels = 0
    try:
        with contextlib.ExitStack() as stack:
            writers = [_Writer(folder / name, stack) for name in PARTS]
            for video in examples():
                x = apply_steps(steps, video.features, runs=video.samples.epochs)
                if not np.isfinite(x).all():
                    raise UsageError(
                        f"{video.uri}: has features that are not finite numbers; leave it out by its labels"
                    )
                num_labels = video.targets.shape[1]
                for part, writer in enumerate(writers):
                    chosen = np.flatnonzero(video.parts == part)
                    if len(chosen):
                        writer.add(video, chosen, x, pool_ways=() if is_sequences else pool_ways)
                        dim = x.shape[1] * (1 if is_sequences else len(pool_ways))
    except OSError as error:
        raise disk_error(error, folder=folder) from None
    shape = {"dim": dim, "num_labels": num_labels}
    return {name: Part(folder / name, **shape, is_sequences=is_sequences) for name in PARTS}


class _Writer:
    """The files of one part."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        folder.mkdir()
        names = ("rows", "targets", "groups", "begin", "end")
        self._files = {name: stack.enter_context((folder / name).open("wb")) for name in names}
        self._num_rows = 0

    def add(self, video: VideoExamples, chosen: NDArray[np.int64], x: Features, *, pool_ways: Sequence[str]) -> None:
        """Add units of a video whose samples the feature steps turned into ``x``."""
        begin, end = video.units.begin[chosen], video.units.end[chosen]
        if pool_ways:
            rows = pool(x, begin, end, pool_ways)
            begin = np.arange(len(rows), dtype=np.int64)
            end = begin + 1
        else:
            is_used = covered(begin, end, num=len(x))
            rows = x[is_used]
            place = np.concatenate([[0], np.cumsum(is_used)])
            begin, end = place[begin], place[end]
        parts: dict[str, NDArray[Any]] = {
            "rows": rows.astype(np.float32, copy=False),
            "targets": video.targets[chosen].astype(np.float32, copy=False),
            "groups": video.groups[chosen].astype(np.int64, copy=False),
            "begin": (begin + self._num_rows).astype(np.int64, copy=False),
            "end": (end + self._num_rows).astype(np.int64, copy=False),
        }
        for name, array in parts.items():
            self._files[name].write(np.ascontiguousarray(array).data)
        self._num_rows += len(rows)


def covered(begin: NDArray[np.int64], end: NDArray[np.int64], *, num: int) -> NDArray[np.bool_]:
    """``bool[num]``: which of so many samples are in one of the units, or in several."""
    edges = np.bincount(begin, minlength=num + 1) - np.bincount(end, minlength=num + 1)
    is_covered: NDArray[np.bool_] = np.cumsum(edges[:num]) > 0
    return is_covered


def _mapped(path: Path, dtype: type[Any], *, width: int | None = None) -> NDArray[Any]:
    size = os.path.getsize(path)
    shape = (-1,) if width is None else (-1, max(1, width))
    if not size:
        return np.empty((0, *shape[1:]), dtype)
    return np.memmap(path, dtype, "r").reshape(shape)
