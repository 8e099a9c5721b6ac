"""``finetune`` from the first check to the weights: decode the labelled videos once, train, measure, publish.

Ray and torch are imported behind every check that can do without them.
"""

from dataclasses import dataclass

from pipeline.extract.opening import Opened, opening
from pipeline.extract.progress import Display
from pipeline.extract.request import RunOptions
from pipeline.extract.results import Clockwork
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.publishing.backends import leased
from pipeline.records.documents import Document
from pipeline.records.extras import require_extra
from pipeline.records.shards import WHOLE
from pipeline.training.finetune.folder import FinetuneFolder
from pipeline.training.finetune.labelled_inputs import LabelledInputs
from pipeline.training.finetune.picture_examples import PictureExamples, unusable_videos
from pipeline.training.finetune.request import FinetuneRequest
from pipeline.training.labels.label_rows import read_label_file

_FILE_BYTES = 64 << 20
"""Of pictures in one file of the dataset of inputs, about."""
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What a finished ``finetune`` did, and where it is."""

    out: str
    was_finished: bool
    """Whether an earlier command had done it all."""
    metrics: Document
    seconds: float
    marks_s: dict[str, float]
    """Seconds from the command to: Ray is up, all is decoded, the network is trained, the end."""


def run_finetune(request: FinetuneRequest, display: Display) -> Finetuned:
    """Train a network on the labelled videos of the input, or go on where an earlier command was killed.

    Raises:
        UsageError: the request, the labels or the folder do not fit.
        RunError: it failed and can be resumed.
    """
    clockwork = Clockwork()
    require_extra("train", command="finetune")
    request.check_workers()
    rows = read_label_file(request.labels, request.label_options)
    folder = FinetuneFolder(request.out)
    settings = request.settings(labels_digest=rows.digest)
    folder.check(settings)
    folder.backend.check(slot=WHOLE)
    if folder.is_finished:
        _clear(folder)
        return _finetuned(folder, clockwork, was_finished=True)
    chosen = LabelledInputs.of(request.inputs, rows, out=request.out)
    if chosen.num_others:
        display.say(f"{chosen.num_others} videos of the input have no label and are left out")
    with opening([folder.inputs], RunOptions(address=request.address), display, clockwork) as opened:
        from pipeline.training.finetune.start import Start

        start = Start.of(request)
        workers = request.workers_on(opened.hardware)
        folder.inputs.check(start.inputs.config)
        with leased(folder.backend, slot=WHOLE) as token:
            folder.begin(settings, token=token)
            _decode(opened, folder, start.inputs, chosen)
            unusable = unusable_videos(folder.inputs)
            _say_unusable(unusable, display)
            examples = PictureExamples.of(
                folder.inputs_uri, rows, options=request.label_options, split=request.split_options
            )
            for line in (*examples.report.lines(), *examples.report.warnings()):
                display.say(line)
            clockwork.mark("decoded")
            from pipeline.training.finetune.tuning import Tuning

            tuning = Tuning(request=request, start=start, examples=examples, settings=settings, workers=workers)
            scored = tuning.train(folder, display, token=token)
            clockwork.mark("trained")
            folder.finish(tuning.results(folder, scored, unusable=unusable), token=token)
            folder.clear()
    return _finetuned(folder, clockwork, was_finished=False)


def _decode(opened: Opened, folder: FinetuneFolder, info: DatasetInfo, chosen: LabelledInputs) -> None:
    """Keep the pictures of the chosen videos, those that are not kept already."""
    rows_per_file = max(1, _FILE_BYTES // info.config.model.preprocessing.sample_bytes)
    with opened.run(info, rows_per_file=rows_per_file) as run:
        run.extract(chosen)
        run.finish()


def _say_unusable(unusable: dict[str, str], display: Display) -> None:
    if unusable:
        named = [f"{uri} ({reason})" for uri, reason in unusable.items()]
        more = " ..." if len(named) > _MOST_NAMED else ""
        display.say(f"{len(named)} videos cannot be used, or not wholly: {', '.join(named[:_MOST_NAMED])}{more}")


def _finetuned(folder: FinetuneFolder, clockwork: Clockwork, *, was_finished: bool) -> Finetuned:
    clockwork.mark("end")
    return Finetuned(
        out=folder.shown,
        was_finished=was_finished,
        metrics=folder.metrics(),
        seconds=clockwork.marks["end"],
        marks_s=clockwork.marks,
    )


def _clear(folder: FinetuneFolder) -> None:
    """Remove what a command has left that was killed once the weights were there."""
    if not folder.is_cleared():
        with leased(folder.backend, slot=WHOLE):
            folder.clear()
