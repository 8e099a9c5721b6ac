"""Files of this machine's file system, network mounts included."""

import errno
import os
import re
import stat as file_mode
from functools import partial

from typing_extensions import override

from pipeline.errors import Changed, Unreadable
from pipeline.storage.addresses import local_path, shown
from pipeline.storage.reader import Gone, Identity, Reader
from pipeline.storage.retry import RetryPolicy, Transient, persistently


class LocalReader(Reader):
    """A file of this machine's file system, network mounts included."""

    def __init__(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> None:
        self._path = find_path(locator)
        self.uri = shown(self._path)
        self._retry = retry
        self._fd = persistently(lambda: _open_file(self._path), uri=self.uri, retry=retry)
        try:
            identity = _file_identity(os.fstat(self._fd))
            self._expected = identity if expected is None else expected
            self._compare(identity)
            self.size_bytes = identity.size_bytes or 0
            if self.size_bytes == 0:
                raise Unreadable(self.uri, "empty")
        except BaseException:
            self.close()
            raise

    @override
    def read_at(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size_bytes)
        if not 0 <= offset < end:
            return b""
        parts: list[bytes] = []
        while offset < end:
            part = persistently(partial(self._pread, end - offset, offset), uri=self.uri, retry=self._retry)
            if not part:
                raise Changed(self.uri, "shorter than when it was listed")
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @override
    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @override
    def _identities(self) -> list[Identity]:
        by_name = persistently(lambda: stat_file(self._path), uri=self.uri, retry=self._retry)
        return [by_name, _file_identity(os.fstat(self._fd))]

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            if error.errno == errno.ESTALE:
                # NFS: the handle is dead for good, the name may not be.
                fresh = _open_file(self._path)
                os.dup2(fresh, self._fd, inheritable=False)
                os.close(fresh)
                self._compare(_file_identity(os.fstat(self._fd)))
            raise Transient(error.strerror or type(error).__name__) from None


def find_path(locator: str) -> str:
    r"""The path that a local address means, with the very bytes of its name.

    Where nothing has the name as it is written, ``\xNN`` in it stands for the byte that ``shown`` writes so: what a
    dataset's tables say can be given back.
    """
    path = local_path(locator)
    if _SHOWN_BYTE.search(path) is None or not _is_absent(path):
        return path
    meant = os.fsdecode(_SHOWN_BYTE_RAW.sub(lambda match: bytes.fromhex(match[1].decode()), os.fsencode(path)))
    return path if _is_absent(meant) else meant


def _is_absent(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


_SHOWN_BYTE = re.compile(r"\\x[89a-f][0-9a-f]")
_SHOWN_BYTE_RAW = re.compile(rb"\\x([89a-f][0-9a-f])")

_FINAL_ERRNO = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist (a part of its path is not a folder)",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "is a folder",
    errno.ELOOP: "a symbolic link that leads nowhere",
    errno.ENAMETOOLONG: "the name is too long",
}


def _open_file(path: str) -> int:
    """A descriptor of a regular file; without O_NONBLOCK, a named pipe would be waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise verdict(error, uri=shown(path)) from None
    except ValueError:
        raise Unreadable(shown(path), "not a valid path") from None
    try:
        _require_regular(os.fstat(fd), path)
    except Unreadable:
        os.close(fd)
        raise
    return fd


def stat_file(path: str) -> Identity:
    """Who the file is, without reading it; raises what ``verdict`` makes of an error."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise verdict(error, uri=shown(path)) from None
    except ValueError:
        raise Unreadable(shown(path), "not a valid path") from None
    _require_regular(status, path)
    return _file_identity(status)


def _require_regular(status: os.stat_result, path: str) -> None:
    if file_mode.S_ISDIR(status.st_mode):
        raise Unreadable(shown(path), "is a folder")
    if not file_mode.S_ISREG(status.st_mode):
        raise Unreadable(shown(path), "not a regular file")


def _file_identity(status: os.stat_result) -> Identity:
    return Identity(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def verdict(error: OSError, *, uri: str) -> Unreadable | Transient:
    """The file system's answer: about this one object, or about nothing but the moment."""
    detail = _FINAL_ERRNO.get(error.errno or 0)
    if detail is None:
        return Transient(error.strerror or type(error).__name__)
    return Gone(uri, detail) if error.errno in (errno.ENOENT, errno.ENOTDIR) else Unreadable(uri, detail)
