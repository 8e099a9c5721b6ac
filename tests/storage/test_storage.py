"""Reading objects by their address: what comes back, and what each failure counts as."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import Changed, Unreadable, UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.storage.reader import Identity, video_id
from pipeline.storage.retry import RetryPolicy
from pipeline.storage.schemes import open_reader, stat

QUICK = RetryPolicy(attempts=3, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.02, jitter_s=0.0)
CONTENT = os.urandom(5_000_000)
SECRET = "s3cr3t"


def test_video_id_tells_replacements_apart() -> None:
    first = video_id("/a.mp4", Identity(size_bytes=1, mtime_ns=1))
    assert first == video_id("/a.mp4", Identity(size_bytes=1, mtime_ns=1)) == "de696308ba8c6be3b226"
    others = [Identity(size_bytes=2, mtime_ns=1), Identity(size_bytes=1, mtime_ns=2), Identity(size_bytes=1, etag="1")]
    assert len({first, *(video_id("/a.mp4", other) for other in others)}) == 4


def test_unsupported_scheme_is_a_usage_error_that_names_it() -> None:
    for attempt in (stat, open_reader, backend_at):
        with pytest.raises(UsageError, match="s4://"):
            attempt(f"s4://key:{SECRET}@bucket/a.mp4")


# Local files


def test_local_file_is_read_at_any_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENT)
    with open_reader(path.as_uri(), expected=stat(str(path))) as reader:
        assert reader.size_bytes == len(CONTENT)
        assert reader.read_at(1000, 5) == CONTENT[1000:1005]
        assert reader.read_at(len(CONTENT) - 3, 100) == CONTENT[-3:]
        assert reader.read_at(len(CONTENT), 1) == b""
        reader.check_unchanged()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"something else")
    os.replace(other, path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(replace, id="replaced"),
        pytest.param(lambda path: path.write_bytes(b"abcdefgh"), id="rewritten"),
        pytest.param(Path.unlink, id="removed"),
    ],
)
def test_local_file_that_changes_while_it_is_read_is_changed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abcdefgh")
    os.utime(path, ns=(0, 0))
    with open_reader(str(path)) as reader:
        change(path)
        with pytest.raises(Changed):
            reader.check_unchanged()


def test_local_file_that_shrinks_is_changed_and_never_short(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abcdefgh")
    with open_reader(str(path)) as reader:
        os.truncate(path, 4)
        with pytest.raises(Changed):
            reader.read_at(0, 8)


def test_local_file_that_is_not_the_expected_one_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abcdefgh")
    with pytest.raises(Changed):
        open_reader(str(path), expected=Identity(size_bytes=3))


def test_local_names_without_a_readable_file_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    names = ["absent", "empty", "pipe", "circle", "empty/below", "", "n" * 300, "nul\0byte"]
    for name in names:
        with pytest.raises(Unreadable):
            open_reader(os.path.join(tmp_path, name), retry=QUICK)
    assert stat(str(tmp_path / "empty")).size_bytes == 0
