"""The training loop of one worker: it learns, keeps the best epoch, and goes on from where it was broken off."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from moving import KINDS, keep_pictures, pictures_of
from safetensors.torch import load, save

from pipeline.lake.publishing.backends import backend_at
from pipeline.models.preprocess import one_thread
from pipeline.models.registry import load_model
from pipeline.models.weights_notes import WeightsNotes
from pipeline.models.zoo.video_cnn import PREPROCESSING
from pipeline.records.shards import WHOLE
from pipeline.training.finetune.checkpoints import Checkpoints, Course, EpochScores
from pipeline.training.finetune.loop import Scored, Training, TrainingJob, TrainingPlan, Worker, new_network
from pipeline.training.finetune.network import PicturesToScores, separate, weights_file
from pipeline.training.finetune.pictures import Places
from pipeline.training.finetune.request import LearningOptions

PLAN = TrainingPlan(
    model="timm/test_convnext",  # as small as there are, and takes pictures of any size
    weights="random:0",
    labels=KINDS,
    learning=LearningOptions(epochs=6, batch_size=6, learning_rate=0.003, seed=0),
    class_weights=(1.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder with twelve pictures for training, and four for each other part."""

    folder: Path
    inputs: str
    token: str
    places: Places

    def job(self, plan: TrainingPlan = PLAN, *, digest: str = "one", epochs: int | None = None) -> TrainingJob:
        learning = plan.learning if epochs is None else replace(plan.learning, epochs=epochs)
        return TrainingJob(
            plan=replace(plan, learning=learning),
            folder=str(self.folder),
            inputs=self.inputs,
            digest=digest,
            token=self.token,
            places=self.places,
            targets=np.repeat([0, 1], 10).astype(np.int64),
            parts=np.array(2 * [0, 0, 0, 0, 0, 0, 1, 1, 2, 2], np.int8),
        )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Several would wait for each other where other tests run beside."""
    with one_thread():
        yield


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    videos = {kind: np.stack(list(pictures_of(kind, seed=1, num=10))) for kind in KINDS}
    dataset, _ = keep_pictures(tmp_path / "out" / "inputs", videos)
    backend = backend_at(str(tmp_path / "out"))
    backend.store.ensure_writable()
    uris = {name: dataset.files.read_ours(name, _first_uri) for name in dataset.features.names()}
    files = sorted(uris, key=lambda name: uris[name])
    return Kept(
        folder=tmp_path / "out",
        inputs=str(tmp_path / "out" / "inputs"),
        token=backend.acquire(slot=WHOLE).token,
        places=Places(
            files=tuple(files),
            file=np.repeat([0, 1], 10).astype(np.int32),
            row=np.tile(np.arange(10), 2).astype(np.int32),
        ),
    )


def _first_uri(file: pa.NativeFile) -> str:
    return str(pq.ParquetFile(file).read(["uri"])["uri"][0].as_py())


def train(job: TrainingJob, network: PicturesToScores | None = None) -> tuple[Scored, PicturesToScores]:
    network = network or new_network(job.plan)
    worker = Worker(rank=0, num_workers=1, device=torch.device("cpu"), network=network, in_step=network)
    scored = Training(job, worker).run()
    assert scored is not None
    return scored, network


def test_two_kinds_of_motion_are_told_apart(kept: Kept) -> None:
    job = kept.job()
    scored, _ = train(job)
    assert scored.numbers.tolist() == [6, 7, 8, 9, 16, 17, 18, 19], "validation and test"
    assert (scored.scores.argmax(axis=1) == job.targets[scored.numbers]).mean() >= 0.9
    assert [epoch.epoch for epoch in scored.course.epochs] == [1, 2, 3, 4, 5, 6]
    assert scored.course.epochs[-1].loss < scored.course.epochs[0].loss


@pytest.mark.slow
def test_training_that_goes_on_ends_with_the_same_numbers(kept: Kept) -> None:
    calm, _ = train(kept.job(digest="calm"))
    last = Checkpoints(str(kept.folder), digest="calm").last()
    train(kept.job(digest="broken off", epochs=1))
    again, _ = train(kept.job(digest="broken off"))
    other = Checkpoints(str(kept.folder), digest="broken off").last()
    assert last is not None
    assert other is not None
    assert [replace(e, seconds=0) for e in again.course.epochs] == [replace(e, seconds=0) for e in calm.course.epochs]
    assert np.array_equal(again.scores, calm.scores)
    for mine, theirs in ((last.network, other.network), (last.best, other.best), (last.adam, other.adam)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_checkpoint_of_another_training_is_left_aside(kept: Kept) -> None:
    train(kept.job(digest="other", epochs=1))
    assert Checkpoints(str(kept.folder), digest="one").last() is None
    assert Checkpoints(str(kept.folder), digest="one").course() == Course(digest="one")
    scored, _ = train(kept.job(epochs=1))
    assert len(scored.course.epochs) == 1


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        pytest.param([0.5, 0.2, 0.3], 2, id="the least loss"),
        pytest.param([0.2, 0.2], 1, id="the first of equals"),
        pytest.param([None, None], 2, id="without validation the last"),
        pytest.param([], 0, id="none yet"),
    ],
)
def test_best_epoch(losses: list[float | None], best: int) -> None:
    epochs = tuple(
        EpochScores(epoch=at, loss=1.0, validation_loss=loss, validation_accuracy=None, seconds=0.0)
        for at, loss in enumerate(losses, 1)
    )
    assert Course(digest="one", epochs=epochs).best_epoch == best


def test_head_alone_learns_and_batch_normalisation_stays_as_it_was(kept: Kept) -> None:
    plan = replace(PLAN, model="timm/test_resnet", learning=replace(PLAN.learning, train="head", epochs=1))
    network = new_network(plan)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, trained = train(kept.job(plan), network)
    changed = [name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["head.weight", "head.bias"]
    assert any("running_mean" in name for name in before)


def test_classes_count_by_their_weights(kept: Kept) -> None:
    """A label whose errors count nothing is never said by a network that learned so."""
    plan = replace(PLAN, class_weights=(1.0, 0.0), learning=replace(PLAN.learning, epochs=3))
    scored, _ = train(kept.job(plan))
    assert set(scored.scores.argmax(axis=1).tolist()) == {0}


def test_weights_file_holds_the_whole_network_with_its_temperature(tmp_path: Path) -> None:
    network = new_network(replace(PLAN, model="video_cnn")).eval()
    notes = WeightsNotes(model="video_cnn", labels=KINDS, preprocessing=PREPROCESSING)
    data = weights_file(network.state_dict(), notes, head_name="classifier", temperature=2.0)
    assert load(data)["classifier.weight"].shape == (2, 512)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    model = load_model("video_cnn", weights=str(path))
    assert model.classes == KINDS
    assert model.head is not None
    pixels = np.stack(list(pictures_of("circles", seed=5, num=3)))
    with torch.inference_mode():
        scores = network(torch.from_numpy(pixels))
        inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        served = model.head(model.backbone(inputs))
    assert torch.allclose(served, scores / 2, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # GoogLeNet announces another initialisation
@pytest.mark.parametrize("model", ["resnet18", "googlenet", "timm/resnet10t", "efficientnet_lite0"])
@pytest.mark.quick_one_in(3)
def test_networks_of_every_family_come_back_as_they_were_trained(model: str, tmp_path: Path) -> None:
    """GoogLeNet, loaded from a file, rescales its input and has no auxiliary heads: that is how it is trained."""
    torch.manual_seed(0)
    before = load_model(model, weights="random:0")
    assert before.head_name is not None
    network = PicturesToScores(before, num_labels=3, trained="all", seed=0).eval()
    notes = WeightsNotes(model=model, labels=("a", "b", "c"), preprocessing=before.info.preprocessing)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights_file(network.state_dict(), notes, head_name=before.head_name, temperature=None))
    model_again = load_model(model, weights=str(path))
    assert model_again.classes == ("a", "b", "c")
    again = PicturesToScores(model_again, num_labels=3, trained="all", seed=0).eval()
    pixels = torch.randint(0, 256, (2, *before.info.preprocessing.crop_px, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(again.features(pixels), network.features(pixels), atol=1e-5)
        assert model_again.head is not None
        assert torch.allclose(model_again.head(again.features(pixels)), network(pixels), atol=1e-4)


def test_tensors_in_the_same_memory_are_written_each_by_itself() -> None:
    """As those of tied weights: a file of tensors knows no sharing."""
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": whole, "b": whole, "row": whole[1], "turned": whole.T, "none": torch.empty(0)}
    back = load(save(separate(tensors)))
    assert all(torch.equal(back[name], value) for name, value in tensors.items())
