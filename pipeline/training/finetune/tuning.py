"""One training as its driver sees it: handed to the cluster, followed epoch by epoch, and its results put together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from pipeline import __version__
from pipeline.extract.progress import Display
from pipeline.models.weights_notes import WeightsNotes
from pipeline.records.documents import Document
from pipeline.training.finetune.card import FinetuneCard
from pipeline.training.finetune.checkpoints import Checkpoints, EpochScores
from pipeline.training.finetune.folder import CARD, CONFUSION, METRICS, WEIGHTS, FinetuneFolder
from pipeline.training.finetune.loop import Scored, TrainingJob, TrainingPlan
from pipeline.training.finetune.network import weights_file
from pipeline.training.finetune.on_cluster import train_on_cluster
from pipeline.training.finetune.picture_examples import PictureExamples
from pipeline.training.finetune.request import FinetuneRequest, Workers
from pipeline.training.finetune.results import measured_of
from pipeline.training.finetune.start import Start
from pipeline.training.scoring.measured import Measured
from pipeline.training.scoring.picture import confusion_png

_LIBRARIES = ("ray", "torch", "torchvision", "timm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What is trained, on what, and by whom."""

    request: FinetuneRequest
    start: Start
    examples: PictureExamples
    settings: Document
    workers: Workers

    @property
    def digest(self) -> str:
        """Of all that the trained numbers follow from."""
        return self.examples.digest(self.settings)

    def train(self, folder: FinetuneFolder, display: Display, *, token: str) -> Scored:
        """Train from the last checkpoint on.

        Raises:
            RunError: it failed, and can be resumed.
        """
        job = TrainingJob(
            plan=TrainingPlan(
                model=self.request.model,
                weights=self.start.weights,
                labels=self.examples.labels,
                learning=self.request.learning,
                class_weights=self.examples.class_weights(),
            ),
            folder=folder.uri,
            inputs=folder.inputs_uri,
            digest=self.digest,
            token=token,
            places=self.examples.samples.places,
            targets=self.examples.targets,
            parts=self.examples.parts,
        )
        following = _Following(Checkpoints(folder.uri, digest=job.digest), self.request.learning.epochs, display)
        display.say(f"training on {self.examples.num('train')} pictures, {self.workers}")
        scored = train_on_cluster(job, workers=self.workers, look=following.look)
        following.look()
        return scored

    def results(self, folder: FinetuneFolder, scored: Scored, *, unusable: Mapping[str, str]) -> dict[str, bytes]:
        """The files of the folder."""
        measured = measured_of(self.examples, scored)
        confusion = confusion_png(
            measured.parts[measured.shown].confusion,
            self.examples.labels,
            title=f"{self.start.model.info.name}, {measured.shown}",
            is_multi_label=False,
        )
        metrics = {**measured.to_json(), **self._made_by(unusable)}
        return {
            METRICS: json.dumps(metrics, indent=2).encode(),
            CONFUSION: confusion,
            CARD: self._card(folder, measured, unusable=unusable).encode(),
            WEIGHTS: self._weights(folder, measured),
        }

    def _weights(self, folder: FinetuneFolder, measured: Measured) -> bytes:
        checkpoint = Checkpoints(folder.uri, digest=self.digest).last()
        if checkpoint is None:
            raise ValueError("a training that has ended has a checkpoint")
        info = self.start.model.info
        return weights_file(
            checkpoint.best,
            WeightsNotes(model=info.name, labels=self.examples.labels, preprocessing=info.preprocessing),
            head_name=self.start.head_name,
            temperature=measured.learned.temperature,
        )

    def _made_by(self, unusable: Mapping[str, str]) -> Document:
        return {
            "model": self.start.model.info.name,
            "weights": self.start.weights,
            "weights_digest": self.start.model.info.weights_digest,
            "settings": self.settings,
            "unusable": dict(unusable),
            "workers": self.workers.count,
            "versions": _versions(),
        }

    def _card(self, folder: FinetuneFolder, measured: Measured, *, unusable: Mapping[str, str]) -> str:
        card = FinetuneCard(
            request=self.request,
            folder=folder.shown,
            model=self.start.model.info,
            weights=self.start.weights,
            labels=self.examples.labels,
            labels_digest=str(self.settings["the digest of --labels"]),
            measured=measured,
            split=self.request.split_options,
            unusable=unusable,
            workers=self.workers,
            versions=_versions(),
        )
        return card.text()


class _Following:
    """Says how each epoch went, by the checkpoints."""

    def __init__(self, checkpoints: Checkpoints, num_epochs: int, display: Display) -> None:
        self._checkpoints = checkpoints
        self._num_epochs = num_epochs
        self._display = display
        self._num_said = len(checkpoints.course().epochs)
        if self._num_said == num_epochs:
            display.say(f"going on from the checkpoint of epoch {num_epochs}, the last: what is left is to measure")
        elif self._num_said:
            display.say(f"going on from epoch {self._num_said + 1} of {num_epochs}")

    def look(self) -> None:
        """Say what is new."""
        for epoch in self._checkpoints.course().epochs[self._num_said :]:
            self._display.say(f"epoch {epoch.epoch} of {self._num_epochs}: {_told(epoch)}")
            self._num_said = epoch.epoch


def _told(epoch: EpochScores) -> str:
    measured = ""
    if epoch.validation_loss is not None and epoch.validation_accuracy is not None:
        measured = f", validation loss {epoch.validation_loss:.4f}, {epoch.validation_accuracy:.1%} right"
    return f"loss {epoch.loss:.4f}{measured} ({epoch.seconds:.1f} s)"


def _versions() -> dict[str, str]:
    return {"vidlake": __version__, **{name: version(name) for name in _LIBRARIES}}
