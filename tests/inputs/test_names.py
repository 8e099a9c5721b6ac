"""Names of all kinds: each file is a source whose address is plain text and opens it."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest

from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import id_of
from pipeline.lake.dataset import Dataset
from pipeline.storage.retry import RetryPolicy
from pipeline.storage.schemes import open_reader

QUICK = RetryPolicy(attempts=2, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.01, jitter_s=0.0)
LATIN = b"caf\xe9.mp4"
ODD_NAMES = [
    LATIN,
    b"new\nline.mp4",
    "\u00fcn\u00ef \u20ac.mp4".encode(),
    b"100% #1 [a]?.mp4",
    b"-rf.mp4",
    b" .mp4",
    b"\xff",
]


@pytest.fixture
def oddities(tmp_path: Path) -> Path:
    """A folder, of an odd name itself, of files of odd names."""
    folder = tmp_path / os.fsdecode(b"c\xe2m\xe9ra")
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(name)
    return folder


def contents(words: Sequence[str]) -> set[bytes]:
    """What is read at the addresses that the workers get, which are plain text."""
    found = set()
    for source in Inputs(words, retry=QUICK):
        assert source.failure is None
        pa.array([source.uri, source.locator], pa.string())
        with open_reader(source.locator, expected=source.identity) as reader:
            assert reader.uri == source.uri
            found.add(reader.read_at(0, 100))
    return found


def test_a_file_of_any_name_is_listed_and_opened(oddities: Path) -> None:
    assert contents([str(oddities)]) == set(ODD_NAMES)
    assert contents([f"{oddities}/*"]) == set(ODD_NAMES)
    assert contents([f"{oddities.parent}/**/caf*"]) == {LATIN}
    for name in ODD_NAMES:
        assert contents([os.path.join(oddities, os.fsdecode(name))]) == {name}


def test_bytes_that_are_no_text_are_shown_and_can_be_given_back(oddities: Path) -> None:
    [source] = Inputs([f"{oddities}/caf*"])
    assert source.uri == f"{oddities.parent}/c\\xe2m\\xe9ra/caf\\xe9.mp4"
    assert contents([source.uri]) == contents([source.locator]) == {LATIN}
    ids = {id_of(again) for word in (source.uri, source.locator) for again in Inputs([word])}
    assert ids == {id_of(source)}


def test_a_name_that_looks_like_a_shown_one_is_another_video(tmp_path: Path) -> None:
    for name in ("x\\xe9.mp4", os.fsdecode(b"x\xe9.mp4")):
        (tmp_path / name).write_bytes(b"same")
        os.utime(tmp_path / name, ns=(0, 0))
    first, second = Inputs([f"{tmp_path}/x*"])
    assert first.uri == second.uri
    assert id_of(first) != id_of(second)


def test_a_text_manifest_may_hold_names_that_are_no_text(oddities: Path) -> None:
    names = [
        LATIN,
        os.fsencode(oddities) + b"/\xff",
        b"caf\\xe9.mp4",
        b"file:" + quote(os.fsencode(oddities)).encode() + b"/%ff",
    ]
    (oddities / "list.txt").write_bytes(b"\n".join(names))
    assert contents([str(oddities / "list.txt")]) == {LATIN, b"\xff"}
    assert len(list(Inputs([str(oddities / "list.txt")]))) == 2, "each is there once, however it is named"


def test_a_closed_folder_of_an_odd_name_is_one_row(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xe9")).symlink_to("absent")
    [source] = Inputs([str(tmp_path)], retry=QUICK)
    assert (source.uri, source.failure) == (f"{tmp_path}/\\xe9", ("unreadable", "does not exist"))


def test_a_dataset_may_lie_in_a_folder_of_any_name(oddities: Path) -> None:
    lake = Dataset.at(str(oddities / os.fsdecode(b"\xe9"))).store
    lake.ensure_writable()
    lake.publish("features/x", b"rows")
    assert lake.uri.endswith("/c\\xe2m\\xe9ra/\\xe9")
    assert Dataset.at(lake.uri).store.read("features/x") == b"rows"
    assert contents([str(oddities)]) > set(ODD_NAMES), "what lies in it is listed unless it is the run's own"
    inputs = Inputs([str(oddities)], exclude=str(oddities / os.fsdecode(b"\xe9")))
    assert len(list(inputs)) == len(ODD_NAMES)
