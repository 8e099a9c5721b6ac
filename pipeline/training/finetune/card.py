"""The model card of a fine-tuned network: what a colleague reads before using it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.records.model_info import ModelInfo
from pipeline.training.finetune.request import FinetuneRequest, Workers
from pipeline.training.request import SplitOptions
from pipeline.training.scoring.card_parts import limits_of_parts, parts_of_labels, scores
from pipeline.training.scoring.markdown import facts, listed, plain, section, table
from pipeline.training.scoring.measured import Measured

_MOST_NAMED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneCard:
    """What the card is written from."""

    request: FinetuneRequest
    folder: str
    model: ModelInfo
    """Of the network that training began with."""
    weights: str
    """Where its numbers were from."""
    labels: tuple[str, ...]
    labels_digest: str
    measured: Measured
    split: SplitOptions
    unusable: Mapping[str, str]
    workers: Workers
    versions: Mapping[str, str]

    def text(self) -> str:
        """The card, in Markdown."""
        sections = [
            f"# {self.model.name}, fine-tuned",
            f"`{self.model.name}`, trained on pictures of videos, gives each picture one of {len(self.labels)} labels: "
            f"{listed(self.labels)}.",
            *section("Data", self._data()),
            *section("Split", [self._split()]),
            *section("Scores", scores(self.measured, noun="pictures", model="this network")),
            *section("Calibration", [self._calibration()]),
            *section("Training", self._training()),
            *section("Limits", ["\n".join(f"- {limit}" for limit in self._limits())]),
            *section("How to use it", [self._usage()]),
        ]
        return "\n\n".join(sections) + "\n"

    def _data(self) -> Iterable[str]:
        report = self.measured.labels
        yield facts(
            [
                ("videos", f"{', '.join(f'`{plain(word)}`' for word in self.request.inputs)}"),
                ("sampled", f"`{self.request.rule}`"),
                ("labels", f"{report.source}, content `{self.labels_digest}`"),
                ("rows", f"{report.num_rows}, of which {report.num_unmatched} match no video"),
                ("pictures without a label", f"{report.num_unlabelled}, of labelled videos"),
                ("videos that could not be used, or not wholly", f"{len(self.unusable)}"),
            ]
        )
        if self.unusable:
            named = list(self.unusable.items())
            yield table(["video", "reason"], [[uri, reason] for uri, reason in named[:_MOST_NAMED]])
        yield parts_of_labels(report, noun="pictures")

    def _split(self) -> str:
        report = self.measured.labels
        if report.by == "split column":
            return "The label file's own column `split` says which part each row is for."
        groups = "videos" if report.by == "video" else "labelled ranges, because all labels are of one video"
        return (
            f"Drawn by {groups}, never by frame: {report.num_groups} groups, {self.split.validation:.0%} of them for "
            f"validation and {self.split.test:.0%} for the test, stratified by label, seed {self.split.seed}. Videos "
            f"that show the same under several names are one group; {report.num_twins} were found to repeat another."
        )

    def _calibration(self) -> str:
        learned = self.measured.learned
        shown = self.measured.parts[self.measured.shown].expected_calibration_error
        now = f"On the {self.measured.shown} part the expected calibration error is {shown:.3f}."
        if learned.calibration is None or learned.temperature is None:
            return f"Not calibrated: there is no validation part. {now}"
        return (
            f"One temperature, {learned.temperature:.3f}, was fitted on the {learned.calibration.num_units} pictures "
            "of the validation part, and the last layer's numbers are divided by it: the expected calibration error "
            f"there was {learned.calibration.before:.3f} before and is {learned.calibration.after:.3f} after. {now}"
        )

    def _training(self) -> Iterable[str]:
        learning, learned = self.request.learning, self.measured.learned
        what = "all layers" if learning.train == "all" else "the last layer alone"
        yield facts(
            [
                ("began with", f"weights `{plain(self.weights)}`, `{self.model.weights_digest}`; a new last layer"),
                ("trained", f"{what}, on {learned.num_units_used} pictures, {self.workers}"),
                (
                    "how",
                    f"cross entropy, each label counting the same; Adam, learning rate {learning.learning_rate:g}, "
                    f"{learning.batch_size} pictures a worker at once; no augmentation; seed {learning.seed}",
                ),
                ("epochs", f"{len(learned.history)}, the numbers kept are those of epoch {learned.best_epoch}"),
                ("versions", ", ".join(f"{name} {text}" for name, text in self.versions.items())),
            ]
        )

    def _limits(self) -> Iterable[str]:
        yield (
            "It has seen these videos alone. Other cameras, places, light or seasons may be another matter: measure it "
            "there before relying on it."
        )
        yield "It knows no other labels: what is none of them is called one of them all the same."
        yield from limits_of_parts(self.measured, noun="pictures")
        yield (
            "Pictures of one video resemble each other: the scores are surer by the number of videos than of pictures. "
            "How near test and training pictures are was not measured."
        )

    def _usage(self) -> str:
        words = f"--model {self.model.name} --weights {self.folder}/weights.safetensors"
        return f"```\nvidlake extract INPUT --out URI {words}\nvidlake serve {words}\n```"
