"""Reading something small of many files: side by side, in order, and without keeping what was read."""

import weakref
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.lake.dataset import Dataset
from pipeline.lake.files import DatasetFiles

NUM_FILES = 150


class Content:
    """What was read of a file; a class of our own, for it is seen how long one lives."""

    def __init__(self, data: bytes) -> None:
        self.number = int(data)


@pytest.fixture
def files(tmp_path: Path) -> DatasetFiles:
    for number in range(NUM_FILES):
        (tmp_path / f"{number:03d}").write_bytes(b"%d" % number)
    return Dataset.at(str(tmp_path)).files


def test_results_come_in_order_and_few_are_there_at_once(files: DatasetFiles) -> None:
    alive: weakref.WeakSet[Content] = weakref.WeakSet()

    def read(file: pa.NativeFile, uri: str) -> Content:
        content = Content(file.read())
        alive.add(content)
        return content

    most, found = 0, []
    for name, content in files.read_each([f"{number:03d}" for number in range(NUM_FILES)], read):
        found.append((int(name), content.number))
        del content
        most = max(most, len(alive))

    assert found == [(number, number) for number in range(NUM_FILES)]
    assert most < NUM_FILES / 4
