"""Folders of a file system that survive a loss of power: made, and published whole under their final names."""

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.lake.publishing import temporaries


def publish_files(files: Mapping[str, bytes], *, temporary: Path, final: Path) -> bool:
    """Make a folder with these files appear whole, durable when this returns.

    Args:
        files: their content by their names.
        temporary: where the folder is on its way, on the same file system.
        final: its name; an empty folder there gives way.

    Returns:
        Whether ``files`` is what the folder now holds; False: the name was taken.
    """
    for folder in (temporary.parent, final.parent):
        make_folder(folder, made=[])
    try:
        with temporaries.created_folder(temporary):
            for name, data in files.items():
                with open(temporary / name, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            sync_folder(temporary)
            if not _rename(temporary, final):
                # A file system of the network may repeat a rename whose answer was lost.
                return _holds(final, files)
        sync_folder(final.parent)
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, final: Path) -> bool:
    try:
        os.rename(temporary, final)
    except OSError as error:
        is_taken = error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ENOENT)
        if is_taken and os.path.lexists(final):
            return False
        raise
    return True


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return set(os.listdir(folder)) == set(files) and all(
            (folder / name).read_bytes() == data for name, data in files.items()
        )
    return False


def make_folder(folder: Path, *, made: list[Path]) -> None:
    """Make a folder and those above it, durably; ``made`` lists them as they come."""
    missing: list[Path] = []
    while not is_folder(folder):
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        try:
            new.mkdir()
        except FileExistsError:
            if not new.is_dir():
                raise
            continue
        made.append(new)
        sync_folder(new.parent)


def is_folder(path: Path) -> bool:
    """Like ``Path.is_dir``, but a store that does not answer is no "no"."""
    try:
        os.stat(path / ".")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in a folder survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
