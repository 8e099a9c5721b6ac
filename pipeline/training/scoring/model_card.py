"""The model card: what a colleague reads before using a head."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.records.heads import HeadInfo
from pipeline.training.request import FitOptions, SplitOptions
from pipeline.training.scoring.card_parts import limits_of_parts, parts_of_labels, scores
from pipeline.training.scoring.leakage import THRESHOLD, Leakage
from pipeline.training.scoring.markdown import facts, listed, section
from pipeline.training.scoring.measured import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the card of a version is written from."""

    address: str
    """``HEADS/NAME``."""
    version: int
    info: HeadInfo
    measured: Measured
    fit: FitOptions
    split: SplitOptions

    def text(self) -> str:
        """The card, in Markdown."""
        sections = [
            f"# {self.address.rpartition('/')[2]}, version {self.version}",
            self._what(),
            *section("Data", self._data()),
            *section("Split", self._split()),
            *section("Leakage", [_leakage(self.measured.leakage)]),
            *section("Scores", scores(self.measured, noun="units", model="this head")),
            *section("Calibration", [self._calibration()]),
            *section("Training", self._training()),
            *section("Limits", ["\n".join(f"- {limit}" for limit in self._limits())]),
            *section("How to use it", self._usage()),
        ]
        return "\n\n".join(sections) + "\n"

    def _what(self) -> str:
        info = self.info
        models = " and ".join(backbone.model.name for backbone in info.backbones)
        kind = "any of" if info.is_multi_label else "one of"
        return (
            f"A `{info.kind}` head that gives each {_UNIT_NAMES[info.unit.kind]} (`{info.unit}`) {kind} "
            f"{len(info.labels)} labels, from the features of {models}: {listed(info.labels)}."
        )

    def _data(self) -> Iterable[str]:
        info, labels = self.info, self.measured.labels
        pairs = [
            ("lake", f"`{info.lake}`, sampled `{info.sample}`"),
            *(
                (
                    "features",
                    f"{each.model.name}, {each.model.dim} values, {each.precision}, stored as {each.dtype}, weights "
                    f"`{each.model.weights_digest}`, fingerprint `{each.fingerprint}`",
                )
                for each in info.backbones
            ),
            ("labels", f"{labels.source}, content `{info.labels_digest}`"),
            ("rows", f"{labels.num_rows}, of which {labels.num_unmatched} match no video of the lake"),
            ("samples without a label", f"{labels.num_unlabelled}"),
        ]
        yield facts(pairs)
        yield parts_of_labels(labels, noun="units")

    def _split(self) -> Iterable[str]:
        labels, split = self.measured.labels, self.split
        if labels.by == "split column":
            torn = f" {labels.num_torn} groups of units that belong together are in several parts of it."
            yield "The labels' own column `split` says which part each row is for." + (torn if labels.num_torn else "")
            return
        groups = {
            "column": "groups that a column of the labels names",
            "video": "videos",
            "range": "labelled ranges, because all labels are of one video",
        }[labels.by]
        yield (
            f"Drawn by {groups}, never by frame: {labels.num_groups} groups, {split.validation:.0%} of them for "
            f"validation and {split.test:.0%} for the test, stratified by label, seed {split.seed}. Videos that show "
            f"the same under several names are one group; {labels.num_twins} were found to repeat another one."
        )

    def _calibration(self) -> str:
        learned = self.measured.learned
        shown = self.measured.parts[self.measured.shown]
        measured = f"On the {self.measured.shown} part the expected calibration error is " + (
            f"{shown.expected_calibration_error:.3f}."
        )
        if learned.calibration is None or learned.temperature is None:
            return f"Not calibrated: there is no validation part. {measured}"
        before, after = learned.calibration.before, learned.calibration.after
        return (
            f"One temperature, {learned.temperature:.3f}, was fitted on the {learned.calibration.num_units} units of "
            f"the validation part, where the expected calibration error was {before:.3f} before and is {after:.3f} "
            f"after. {measured}"
        )

    def _training(self) -> Iterable[str]:
        fit, learned, info = self.fit, self.measured.learned, self.info
        pairs = [
            ("feature steps", ", ".join(info.steps) or "none"),
            *([] if fit.kind.takes_sequences else [("pooled by", ", ".join(info.pool))]),
            ("class weights", f"{fit.class_weights}; seed {fit.seed}"),
            ("units", f"{learned.num_units_used}, {learned.share_used:.0%} of the training part"),
        ]
        if learned.history:
            best = "" if learned.best_epoch is None else f", the numbers kept are those of epoch {learned.best_epoch}"
            pairs.append(("epochs", f"{len(learned.history)}{best}; learning rate {fit.learning_rate:g}"))
        pairs.append(("versions", ", ".join(f"{name} {text}" for name, text in info.versions.items())))
        yield facts(pairs)

    def _limits(self) -> Iterable[str]:
        info, measured = self.info, self.measured
        yield (
            "It has seen the videos of this lake alone. Other cameras, places, light or seasons may be another matter: "
            "measure it there (`vidlake evaluate`) before relying on it."
        )
        yield (
            "It knows no other labels"
            + (
                ": where none holds, none may be above its threshold."
                if info.is_multi_label
                else ": what is none of them is called one of them all the same."
            )
        )
        yield from limits_of_parts(measured, noun="units")
        if measured.leakage is not None and measured.leakage.share > 0:
            yield "Part of the test was seen in training (see Leakage): the scores are too good."
        yield "Frames of one video resemble each other: the scores are surer by the number of videos than of units."

    def _usage(self) -> Iterable[str]:
        address = f"{self.address}@{self.version}"
        yield (
            "```\n"
            f"vidlake predict LAKE --head {address} --out URI\n"
            f"vidlake evaluate {address} LAKE --labels FILE --on all\n"
            f"vidlake serve --heads {self.address.rpartition('/')[0] or '.'}\n"
            "```"
        )
        yield (
            f"LAKE must hold features of the same fingerprint, `{self.info.fingerprint}`; `head.json` says how they "
            "are made, and `metrics.json` has all figures."
        )


_UNIT_NAMES = {"frame": "sample", "window": "window of time", "video": "video"}


def _leakage(leakage: Leakage | None) -> str:
    if leakage is None:
        return "Not measured: there is no test part."
    drawn = (
        f"Of {leakage.num_units} test units (of {leakage.num_test_units}, drawn by the seed), compared with all "
        f"{leakage.num_training_units} training units by the cosine of the raw features"
    )
    if leakage.share == 0:
        return f"{drawn}, none has a training unit nearer than {THRESHOLD}."
    without = "No unit is left without them."
    if leakage.without is not None:
        totals = leakage.without
        without = (
            f"Without them, on {totals.num_units} units: accuracy {totals.accuracy:.3f}, balanced accuracy "
            f"{totals.balanced_accuracy:.3f}, macro F1 {totals.macro_f1:.3f}."
        )
    return (
        f"**{leakage.share:.1%} of the test leaks**: {drawn[0].lower()}{drawn[1:]}, so many have one nearer than "
        f"{THRESHOLD}. {without}"
    )
