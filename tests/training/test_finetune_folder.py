"""The folder of a fine-tuned network, on disk or in a bucket: one training at a time, and whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import leased
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.publishing.store import Store
from pipeline.models.weights_notes import WeightsNotes, read_notes
from pipeline.models.zoo.video_cnn import PREPROCESSING
from pipeline.records.shards import WHOLE
from pipeline.training.finetune.checkpoints import Checkpoint, Checkpoints, Course, EpochScores
from pipeline.training.finetune.folder import CARD, CONFUSION, METRICS, WEIGHTS, FinetuneFolder

SETTINGS = {"INPUT": ["clips/"], "--epochs": 10, "the digest of --labels": "sha256:00"}
FILES = {WEIGHTS: b"w", METRICS: b"{}", CONFUSION: b"p", CARD: b"c"}


@pytest.fixture
def folder(place: str) -> FinetuneFolder:
    return FinetuneFolder(place)


@pytest.fixture
def token(folder: FinetuneFolder) -> Iterator[str]:
    with leased(folder.backend, slot=WHOLE) as token:
        yield token


def checkpoint(*, epochs: int) -> Checkpoint:
    scores = tuple(
        EpochScores(epoch=at + 1, loss=0.5, validation_loss=None, validation_accuracy=None, seconds=1.0)
        for at in range(epochs)
    )
    tensors = {"head.weight": torch.full((2, 3), float(epochs))}
    return Checkpoint(
        course=Course(digest="one", epochs=scores),
        network=tensors,
        best=tensors,
        adam={"head.weight/step": torch.tensor(float(epochs))},
    )


class Promises:
    """What holds wherever the folder lies."""

    def test_folder_has_the_settings_that_it_was_begun_with(self, folder: FinetuneFolder, token: str) -> None:
        folder.check(SETTINGS)
        folder.begin(SETTINGS, token=token)
        folder.begin(SETTINGS, token=token)
        folder.check(SETTINGS)
        for changed, says in (
            ({"--epochs": 3}, "--epochs is 10, not 3"),
            ({"INPUT": ["clips/", "more/"]}, "INPUT is clips/, not clips/ more/"),
            ({"the digest of --labels": "sha256:01"}, "the digest of --labels"),
        ):
            with pytest.raises(UsageError, match=says):
                folder.check({**SETTINGS, **changed})

    def test_weights_come_last_and_what_was_on_its_way_goes(self, folder: FinetuneFolder, token: str) -> None:
        folder.begin(SETTINGS, token=token)
        Checkpoints(folder.uri, digest="one").publish(checkpoint(epochs=1), token=token)
        folder.inputs.store.publish("_vidlake/config.json", b"{}")
        folder.finish({name: data for name, data in FILES.items() if name != WEIGHTS}, token=token)
        assert not folder.is_finished
        folder.finish(FILES, token=token)
        assert folder.is_finished
        assert folder.metrics() == {}
        assert not folder.is_cleared()
        folder.clear()
        assert folder.is_cleared()
        assert folder.is_finished

    def test_killed_while_pictures_are_removed_it_is_not_cleared(
        self, folder: FinetuneFolder, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.begin(SETTINGS, token=token)
        Checkpoints(folder.uri, digest="one").publish(checkpoint(epochs=1), token=token)
        names = ("_vidlake/config.json", "features/a.parquet")
        for name in names:
            folder.inputs.store.publish(name, b"{}")
        folder.finish(FILES, token=token)

        def killed(store: Store, name: str) -> None:
            folder.inputs.store.remove(names[0])
            raise KeyboardInterrupt

        with monkeypatch.context() as context:
            context.setattr(type(folder.backend.store), "remove_folder", killed)
            with pytest.raises(KeyboardInterrupt):
                folder.clear()
        assert not folder.is_cleared()
        folder.clear()
        assert folder.is_cleared()
        assert folder.inputs.store.version(names[1]) is None

    def test_checkpoint_is_replaced_whole_and_read_back(self, folder: FinetuneFolder, token: str) -> None:
        checkpoints = Checkpoints(folder.uri, digest="one")
        assert checkpoints.last() is None
        assert checkpoints.course() == Course(digest="one")
        for epochs in (1, 2):
            checkpoints.publish(checkpoint(epochs=epochs), token=token)
        last = checkpoints.last()
        assert last is not None
        assert last.course == checkpoints.course() == checkpoint(epochs=2).course
        assert last.network["head.weight"].tolist() == [[2.0] * 3] * 2
        assert last.adam["head.weight/step"].item() == 2.0
        assert Checkpoints(folder.uri, digest="other").last() is None

    def test_worker_of_a_dead_run_replaces_no_checkpoint(self, folder: FinetuneFolder, place: str) -> None:
        checkpoints = Checkpoints(folder.uri, digest="one")
        with leased(folder.backend, slot=WHOLE) as dead:
            checkpoints.publish(checkpoint(epochs=1), token=dead)
        with leased(FinetuneFolder(place).backend, slot=WHOLE) as token:
            checkpoints.publish(checkpoint(epochs=2), token=token)
            with pytest.raises(LeaseLost):
                checkpoints.publish(checkpoint(epochs=1), token=dead)
        assert len(checkpoints.course().epochs) == 2

    def test_labels_of_weights_are_read_where_they_lie(self, folder: FinetuneFolder, token: str) -> None:
        notes = WeightsNotes(model="video_cnn", labels=("a", "b"), preprocessing=PREPROCESSING)
        weights = save({"x": torch.zeros(3)}, metadata=notes.to_header())
        folder.finish({WEIGHTS: weights}, token=token)
        assert read_notes(f"{folder.uri}/{WEIGHTS}") == notes


class TestOnDisk(Promises):
    """In a folder of this machine."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "out")


class TestInABucket(Promises):
    """In each object store."""

    @pytest.fixture
    def place(self, bucket_place: str) -> str:
        return f"{bucket_place}/out"
