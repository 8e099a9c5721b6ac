"""Publishing: a file is whole under its final name, or not there."""

import contextlib
import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from other_runs import kill, line, process

from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing.folder_store import FolderStore
from pipeline.lake.publishing.store import TEMPORARIES, MissingFile


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_published_files_are_listed_read_and_removed(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path / "new" / "out"))
    assert not store.exists()
    store.ensure_writable()
    assert store.exists()
    assert store.list("features") == []
    assert store.publish("features/b.parquet", b"bb")
    assert store.publish("features/a.parquet", b"aa")
    assert store.list("features") == ["features/a.parquet", "features/b.parquet"]
    assert store.read("features/a.parquet") == b"aa"
    assert store.open_input("features/b.parquet").read() == b"bb"
    store.remove("features/a.parquet")
    store.remove("features/a.parquet")
    assert files_below(tmp_path) == ["new/out/features/b.parquet"]


def test_a_name_is_taken_once_unless_overwritten(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    assert store.publish("lease", b"first")
    assert not store.publish("lease", b"second")
    assert store.read("lease") == b"first"
    assert store.publish("lease", b"third", overwrite=True)
    assert store.read("lease") == b"third"
    assert files_below(tmp_path) == ["lease"]


def test_of_many_publishers_one_wins(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    won: list[int] = []

    def publish(index: int) -> None:
        if store.publish("lease", str(index).encode()):
            won.append(index)

    threads = [threading.Thread(target=publish, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read("lease")] == [str(index).encode() for index in won]


WRITES_AND_WAITS = """
import sys, time
from pathlib import Path
from pipeline.lake.publishing import temporaries
with temporaries.created(Path(sys.argv[1])) as file:
    file.write(b"half of")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def test_what_dead_writers_left_is_cleared_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    store.replace("videos/a.parquet", b"a", version=None)  # leaves a lock file, which stays
    folder = tmp_path / TEMPORARIES
    living_path, dead_path = str(folder / "b.parquet.0"), str(folder / "c.parquet.1")
    with process(WRITES_AND_WAITS, living_path) as living, process(WRITES_AND_WAITS, dead_path) as dead:
        assert line(living) == line(dead) == "writing"
        store.clear_temporaries()
        assert sorted(os.listdir(folder)) == ["b.parquet.0", "c.parquet.1", "replace.lock"]
        kill(dead)
        store.clear_temporaries()
        assert sorted(os.listdir(folder)) == ["b.parquet.0", "replace.lock"]


@contextlib.contextmanager
def being_cleared(store: FolderStore) -> Iterator[None]:
    """As by other runs that begin meanwhile, one after the other."""
    is_over = threading.Event()

    def clear() -> None:
        while not is_over.is_set():
            store.clear_temporaries()

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_publishing_goes_on_while_other_runs_clear(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    with being_cleared(store):
        assert all(store.publish(f"features/{index}", b"x" * 1000) for index in range(200))
    assert len(store.list("features")) == 200


def test_clearing_where_there_is_nothing_is_fine(tmp_path: Path) -> None:
    FolderStore(str(tmp_path / "none")).clear_temporaries()
    assert os.listdir(tmp_path) == []


def test_published_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    FolderStore(str(tmp_path)).publish("published", b"x")
    assert (tmp_path / "published").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_files_are_storage_errors_of_their_own(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    for attempt in (store.read, store.open_input):
        with pytest.raises(MissingFile, match=r"config\.json"):
            attempt("_vidlake/config.json")


@pytest.mark.parametrize("name", ["../a", "/a", "", "a/../../b"])
def test_names_stay_inside_the_dataset(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="inside"):
        FolderStore(str(tmp_path)).publish(name, b"")


def test_folder_that_cannot_be_made_is_a_usage_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="part of the path is a file"):
        FolderStore(str(tmp_path / "file" / "out")).ensure_writable()
    with pytest.raises(UsageError, match="too long"):
        FolderStore(str(tmp_path / "new" / ("n" * 300))).ensure_writable()
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False).returncode:
        pytest.skip("no file systems can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_is_a_storage_error_that_says_what_to_do(small_disk: Path) -> None:
    store = FolderStore(str(small_disk))
    with pytest.raises(StorageError, match="no space left: free some"):
        store.publish("features/a.parquet", bytes(100_000))
    assert files_below(small_disk) == []


def test_read_only_disk_is_a_usage_error_that_says_what_to_do(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UsageError, match="read-only"):
        FolderStore(str(small_disk / "out")).ensure_writable()


def test_missing_file_survives_pickling() -> None:
    error = MissingFile("a: not there")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


HEAD = {"head.json": b"{}", "weights.safetensors": b"numbers"}


def test_a_folder_appears_whole_and_its_name_is_taken_once(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path / "heads"))
    assert store.folders("") == store.folders("people") == []
    assert store.publish_folder("people/2", HEAD)
    assert store.publish_folder("people/10", HEAD)
    assert store.publish_folder("people/2", HEAD), "what is there is what was to be"
    assert not store.publish_folder("people/2", {**HEAD, "weights.safetensors": b"others"})
    assert not store.publish_folder("people/2", {"head.json": b"{}"})
    assert store.read("people/2/weights.safetensors") == b"numbers"
    assert store.folders("people") == ["10", "2"]
    assert store.folders("") == ["_vidlake", "people"]
    assert files_below(tmp_path / "heads" / "people" / "2") == ["head.json", "weights.safetensors"]
    assert files_below(tmp_path / "heads" / TEMPORARIES) == [] == os.listdir(tmp_path / "heads" / TEMPORARIES)


def test_a_folder_takes_the_place_of_an_empty_one_and_of_no_file(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    (tmp_path / "1").mkdir()
    (tmp_path / "2").touch()
    assert store.publish_folder("1", HEAD)
    assert not store.publish_folder("2", HEAD)
    assert store.folders("") == ["1", "_vidlake"]


def test_of_many_publishers_of_a_folder_one_wins(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    won: list[bytes] = []

    def publish(data: bytes) -> None:
        if store.publish_folder("1", {"head.json": data, "weights.safetensors": data}):
            won.append(data)

    threads = [threading.Thread(target=publish, args=(str(index).encode(),)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read("1/head.json")] == [store.read("1/weights.safetensors")] == won


def test_a_folder_without_its_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"head\.json"):
        FolderStore(str(tmp_path)).publish_folder("1", {"weights.safetensors": b""})


MAKES_A_FOLDER_AND_WAITS = """
import sys, time
from pathlib import Path
from pipeline.lake.publishing import temporaries
with temporaries.created_folder(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "weights.safetensors").write_bytes(b"half of")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_folders_that_dead_writers_left_are_cleared_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    folder = tmp_path / TEMPORARIES
    folder.mkdir(parents=True)
    with (
        process(MAKES_A_FOLDER_AND_WAITS, str(folder / "1.0")) as living,
        process(MAKES_A_FOLDER_AND_WAITS, str(folder / "1.1")) as dead,
    ):
        assert line(living) == line(dead) == "writing"
        FolderStore(str(tmp_path)).clear_temporaries()
        assert sorted(os.listdir(folder)) == ["1.0", "1.1"]
        kill(dead)
        FolderStore(str(tmp_path)).clear_temporaries()
        assert os.listdir(folder) == ["1.0"]


def test_folders_are_published_while_other_runs_clear(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    with being_cleared(store):
        assert all(store.publish_folder(str(index), HEAD) for index in range(100))
    assert len(store.folders("")) == 101


def test_a_folder_that_a_full_disk_does_not_take_leaves_nothing(small_disk: Path) -> None:
    store = FolderStore(str(small_disk))
    with pytest.raises(StorageError, match="no space left"):
        store.publish_folder("1", {"head.json": b"{}", "weights.safetensors": bytes(100_000)})
    assert files_below(small_disk) == [] == os.listdir(small_disk / TEMPORARIES)


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    for name in ("inputs/features/a.parquet", "inputs/_vidlake/config.json", "inputs.json", "inputs2/a"):
        assert store.publish(name, b"")
    store.remove_folder("inputs")
    store.remove_folder("inputs")
    assert [name for name in files_below(tmp_path) if not name.startswith(TEMPORARIES)] == ["inputs.json", "inputs2/a"]
    assert not (tmp_path / "inputs").exists()
    for name in ("", "..", "/"):
        with pytest.raises(ValueError, match="not a name"):
            store.remove_folder(name)
