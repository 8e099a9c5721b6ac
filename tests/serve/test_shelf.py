"""The shelf: what it takes up from the folder of heads, and what it says of heads that it cannot take."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from heads import backbone
from served_heads import put, served_backbone, use, video_cnn

from pipeline.errors import StorageError
from pipeline.lake.publishing.backends import backend_at
from serve.inference.head_folder import HeadFolder
from serve.inference.heads import HeadStatus, Shelf
from serve.problems import Conflict, NotFound, StoreFailed


def shelf_of(folder: Path | str) -> Shelf:
    return Shelf(HeadFolder(str(folder), model=video_cnn(), precision="fp32"))


def status(shelf: Shelf, name: str) -> HeadStatus:
    [found] = [status for status in shelf.statuses() if status.name == name]
    return found


def test_version_that_is_chosen_takes_the_place_of_the_other(tmp_path: Path) -> None:
    put(tmp_path, "frame")
    shelf = shelf_of(tmp_path)
    first = shelf.head("frame")
    put(tmp_path, "frame", seed=1, is_in_use=False)
    shelf.look()
    assert shelf.head("frame") is first, "another version that nobody uses changes nothing"
    use(tmp_path, "frame", 2)
    shelf.look()
    assert shelf.head("frame").version == 2
    assert first.version == 1, "who took the first one still has it"
    use(tmp_path, "frame", 1)
    shelf.look()
    assert (shelf.head("frame").version, shelf.head("frame").digest) == (1, first.digest)


def test_heads_come_and_go(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    assert shelf.statuses() == []
    with pytest.raises(NotFound, match="there is none"):
        shelf.head("frame")
    put(tmp_path, "frame")
    put(tmp_path, "another")
    shelf.look()
    assert shelf.names() == ["another", "frame"]
    shutil.rmtree(tmp_path / "another")
    (tmp_path / "frame" / "current").unlink()
    shelf.look()
    assert [status.name for status in shelf.statuses()] == ["frame"]
    assert status(shelf, "frame").state == "unused"
    with pytest.raises(Conflict, match="no version of it is in use"):
        shelf.head("frame")
    with pytest.raises(NotFound):
        shelf.head("another")


def test_head_that_was_made_anew_under_the_same_number_is_loaded_anew(tmp_path: Path) -> None:
    put(tmp_path, "frame")
    shelf = shelf_of(tmp_path)
    shutil.rmtree(tmp_path / "frame")
    again = put(tmp_path, "frame", seed=5)
    shelf.look()
    assert shelf.head("frame").digest == again.digest


def cut_short(folder: Path) -> None:
    weights = folder / "1" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def no_json(folder: Path) -> None:
    (folder / "1" / "head.json").write_text("{")


def nobodys_rule(folder: Path) -> None:
    document = json.loads((folder / "1" / "head.json").read_text())
    (folder / "1" / "head.json").write_text(json.dumps({**document, "sample": "fps:fast"}))


def absent_version(folder: Path) -> None:
    (folder / "current").write_text("9")


def no_number(folder: Path) -> None:
    (folder / "current").write_text("the best one")


def no_file(folder: Path) -> None:
    (folder / "current").unlink()
    (folder / "current").mkdir()


@pytest.mark.parametrize("damage", [cut_short, no_json, nobodys_rule, absent_version, no_number, no_file])
def test_broken_head_is_a_problem_and_harms_nobody(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "frame")
    put(tmp_path, "broken")
    damage(tmp_path / "broken")
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        shelf = shelf_of(tmp_path)
        for _ in range(3):
            shelf.look()
    assert shelf.head("frame").version == 1
    broken = status(shelf, "broken")
    assert (broken.state, broken.served) == ("broken", None)
    assert broken.problem
    assert str(tmp_path) not in broken.problem, "a client does not hear where the folder is"
    with pytest.raises(Conflict, match="broken"):
        shelf.head("broken")
    said = [record for record in caplog.records if getattr(record, "problem", None) is not None]
    assert len(said) == 1, "once"


def test_head_that_is_mended_answers(tmp_path: Path) -> None:
    whole = put(tmp_path, "frame")
    weights = tmp_path / "frame" / "1" / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:100])
    shelf = shelf_of(tmp_path)
    assert status(shelf, "frame").state == "broken"
    weights.write_bytes(data)
    shelf.look()
    assert shelf.head("frame").digest == whole.digest


def test_old_version_goes_on_where_the_one_in_use_does_not_load(tmp_path: Path) -> None:
    put(tmp_path, "frame")
    shelf = shelf_of(tmp_path)
    use(tmp_path, "frame", 9)
    shelf.look()
    assert shelf.head("frame").version == 1
    behind = status(shelf, "frame")
    assert behind.state == "behind"
    assert behind.problem is not None
    assert "version 9" in behind.problem
    assert "version 1 goes on answering" in behind.problem
    use(tmp_path, "frame", 1)
    shelf.look()
    assert (status(shelf, "frame").state, status(shelf, "frame").problem) == ("ready", None)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        pytest.param("frame", {"backbones": [backbone(dim=6)]}, "is served", id="another model"),
        pytest.param("frame", {"backbones": [served_backbone(), backbone()]}, "several models", id="several models"),
        pytest.param("video_cnn", {}, "named like the model", id="the model's name"),
        pytest.param("a head", {}, "name", id="no good name"),
        pytest.param("caf\u00e9", {}, "name", id="no ASCII"),
    ],
)
def test_head_that_does_not_fit_is_a_problem(
    tmp_path: Path, name: str, options: dict[str, object], reason: str
) -> None:
    put(tmp_path, "good", **options)  # type: ignore[arg-type]
    if name != "good":
        (tmp_path / "good").rename(tmp_path / name)
    shelf = shelf_of(tmp_path)
    problem = status(shelf, name).problem
    assert problem is not None
    assert reason in problem
    assert shelf.names() == []


def test_other_folders_are_no_heads(tmp_path: Path) -> None:
    for name in (".git", "_vidlake", "notes", "frame"):
        (tmp_path / name / "_vidlake" / "tmp").mkdir(parents=True)
    (tmp_path / "current").write_text("1")
    assert shelf_of(tmp_path).statuses() == []


def test_choosing_a_version_writes_it_down_and_swaps_at_once(tmp_path: Path) -> None:
    put(tmp_path, "frame")
    put(tmp_path, "frame", seed=1, is_in_use=False)
    shelf, other = shelf_of(tmp_path), shelf_of(tmp_path)
    chosen = shelf.use("frame", 2)
    assert (chosen.state, shelf.head("frame").version) == ("ready", 2)
    assert (tmp_path / "frame" / "current").read_text().strip() == "2"
    served = shelf.head("frame")
    shelf.look()
    assert shelf.head("frame") is served, "what is chosen here is not loaded again"
    other.look()
    assert other.head("frame").version == 2
    use(tmp_path, "frame", 1)
    shelf.look()
    assert shelf.head("frame").version == 1


@pytest.mark.parametrize(
    ("name", "version", "problem"),
    [("nobody", 1, NotFound), ("frame", 7, NotFound), ("frame", 2, Conflict), ("frame", 3, Conflict)],
)
def test_version_that_does_not_fit_is_not_chosen(
    tmp_path: Path, name: str, version: int, problem: type[Exception]
) -> None:
    put(tmp_path, "frame")
    put(tmp_path, "frame", backbones=[backbone()], is_in_use=False)
    put(tmp_path, "frame", is_in_use=False)
    (tmp_path / "frame" / "3" / "weights.safetensors").write_bytes(b"")
    shelf = shelf_of(tmp_path)
    with pytest.raises(problem):
        shelf.use(name, version)
    assert (tmp_path / "frame" / "current").read_text().strip() == "1"
    assert shelf.head("frame").version == 1
    assert status(shelf, "frame").state == "ready"


def test_heads_may_lie_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        put(tmp_path, "frame", seed=seed)
    place = f"{bucket}/heads"
    store = backend_at(f"{place}/frame").store
    for version in ("1", "2"):
        files = {file.name: file.read_bytes() for file in (tmp_path / "frame" / version).iterdir()}
        assert store.publish_folder(version, files)
    store.publish("current", b"1\n", overwrite=True)
    shelf, other = shelf_of(place), shelf_of(place)
    assert shelf.head("frame").version == 1
    shelf.use("frame", 2)
    other.look()
    assert (shelf.head("frame").version, other.head("frame").version) == (2, 2)
    assert store.read("current").strip() == b"2"


class FailingFolder(HeadFolder):
    """A folder whose store does not answer while ``is_down``."""

    is_down = False

    def names(self) -> list[str]:
        self._fail()
        return super().names()

    def use(self, name: str, version: int) -> None:
        self._fail()
        super().use(name, version)

    def _fail(self) -> None:
        if self.is_down:
            raise StorageError("the disk is gone")


def test_store_that_fails_leaves_what_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "frame")
    put(tmp_path, "frame", seed=1, is_in_use=False)
    folder = FailingFolder(str(tmp_path), model=video_cnn(), precision="fp32")
    shelf = Shelf(folder)
    folder.is_down = True
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        for _ in range(3):
            shelf.look()
        with pytest.raises(StoreFailed):
            shelf.use("frame", 2)
    assert len([record for record in caplog.records if "cannot be looked at" in record.message]) == 1
    assert (shelf.head("frame").version, status(shelf, "frame").problem) == (1, None)
    folder.is_down = False
    use(tmp_path, "frame", 2)
    shelf.look()
    assert shelf.head("frame").version == 2
