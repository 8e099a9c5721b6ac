"""What the commands do, from the first check to the last figure: ``extract``, ``retry``, ``plan``.

Ray and torch take seconds to import: they are imported where they are first needed, behind every check that can do
without them, and torch while Ray starts.
"""

from dataclasses import replace

from pipeline.errors import UsageError
from pipeline.extract.context import known_shots
from pipeline.extract.destinations import ThumbnailPlace, destinations_of, known_thumbnails, with_thumbnails
from pipeline.extract.opening import hardware_of, opening
from pipeline.extract.progress import Display
from pipeline.extract.request import ExtractRequest, RunOptions
from pipeline.extract.results import Clockwork, Forecast, Outcome
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.model_folders import datasets_within
from pipeline.lake.trust import trusted


def run_extract(request: ExtractRequest, display: Display) -> Outcome:
    """Process what of the input is not settled yet, in the dataset of each model.

    Raises:
        UsageError: the request or a dataset does not fit; nothing was touched.
        RunError: the run failed and can be resumed.
    """
    clockwork = Clockwork()
    request = _with_shots(request)
    destinations = destinations_of(request)
    inputs = Inputs(request.inputs, exclude=request.out, reserved=RESERVED_COLUMNS)
    with opening(destinations.datasets, request.run, display, clockwork) as opened:
        from pipeline.models.registry import load_model

        models = [
            load_model(each.model.name, weights=each.model.weights, window=each.window(request)).info
            for each in destinations.models
        ]
        opened.clockwork.mark("model")
        infos = [
            each.info(request, model, opened.hardware) for each, model in zip(destinations.models, models, strict=True)
        ]
        destinations.check_thumbnails(infos)
        with opened.run(*infos, thumbnails=destinations.thumbnails) as run:
            run.extract(inputs)
            return run.finish()


def run_retry(
    uri: str, options: RunOptions, display: Display, *, model: str | None = None, weights: str | None = None
) -> Outcome:
    """Run again what was quarantined without rows; raises as ``run_extract`` and ``trusted`` do.

    Args:
        uri: of the dataset, or of the folder with those of several models.
        options: of the run.
        display: where it says how it goes.
        model: the command line's ``--model``: metadata must not choose by itself what code is run.
        weights: the command line's ``--weights``, as for ``model``.
    """
    clockwork = Clockwork("retry")
    datasets, thumbnails = _to_retry(uri)
    if len(datasets) > 1 and (model, weights) != (None, None):
        names = ", ".join(dataset.store.uri for dataset, _ in datasets)
        raise UsageError(f"--model and --weights are of one dataset: retry each by itself ({names})")
    infos = [trusted(info, uri=dataset.store.uri, model=model, weights=weights) for dataset, info in datasets]
    places = with_thumbnails([dataset for dataset, _ in datasets], thumbnails)
    with (
        opening(places, options, display, clockwork) as opened,
        opened.run(*infos, thumbnails=thumbnails) as run,
    ):
        run.retry()
        return run.finish()


def _to_retry(uri: str) -> tuple[list[tuple[Dataset, DatasetInfo]], ThumbnailPlace | None]:
    """The dataset at ``uri``, or all that are in that folder, and the thumbnails that were made there."""
    dataset = Dataset.at(uri)
    info = dataset.info()
    within = {} if info is not None else datasets_within(uri)
    if not within:
        return [(dataset, dataset.existing())], known_thumbnails(dataset)
    thumbnails = known_thumbnails(dataset)
    rules = {known.config.sample for _, known in within.values()} | ({thumbnails.sample} if thumbnails else set())
    if len(rules) > 1:
        raise UsageError(
            f"the datasets in {dataset.store.uri} were sampled in different ways ({', '.join(sorted(rules))}): "
            f"retry each by itself ({', '.join(each.store.uri for each, _ in within.values())})"
        )
    return list(within.values()), thumbnails


def forecast(request: ExtractRequest, display: Display) -> Forecast:
    """Probe the input and time the models on the cluster; writes nothing, also where ``request.out`` is a dataset."""
    request = _with_shots(request)
    inputs = Inputs(request.inputs, exclude=request.out or None, reserved=RESERVED_COLUMNS)
    destinations = destinations_of(request) if request.out else None
    from pipeline.cluster.start import starting

    with starting(request.run.address) as cluster:
        from pipeline.extract.forecast import forecast_run

        hardware = hardware_of(cluster, request.run, display=display)
        return forecast_run(inputs, request, destinations=destinations, hardware=hardware)


def _with_shots(request: ExtractRequest) -> ExtractRequest:
    """The request, with the place of the shots that its rule goes by.

    Raises:
        UsageError: there are none.
    """
    uri = request.run.shots or request.out
    shots = known_shots(request.rule, request.run, out=uri)
    if shots is None:
        return request
    if not uri:
        raise UsageError(f"--sample {request.rule} goes by the shots that `vidlake shots` has found: give --shots")
    shots.require_any(request.inputs)
    return replace(request, run=replace(request.run, shots=uri))
