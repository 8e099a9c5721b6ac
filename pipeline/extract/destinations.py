"""Which datasets a request fills, and whether they fit it: told before anything is started, as far as it can be."""

from dataclasses import dataclass, replace

from pipeline.errors import UsageError
from pipeline.extract.request import ExtractRequest, ModelChoice
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.model_folders import dataset_within, datasets_within
from pipeline.records.model_info import ModelInfo, Precision, folder_of
from pipeline.records.resources import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The dataset that the features of one of a request's models go to."""

    model: ModelChoice
    dataset: Dataset
    known: DatasetInfo | None
    """What it is; ``None``: it does not exist yet."""

    def info(self, request: ExtractRequest, model: ModelInfo, hardware: Hardware) -> DatasetInfo:
        """What the dataset is to be, with the model as it was loaded.

        Raises:
            UsageError: it was made with other settings.
        """
        config = config_of(request, model, known=self.known, hardware=hardware)
        self.dataset.check(config)
        return DatasetInfo(config=config, weights=self.model.weights)

    def check(self, request: ExtractRequest) -> None:
        """Compare the settings that are known before the model is loaded, so that a mistake is told at once.

        Raises:
            UsageError: the dataset was made with other settings.
        """
        if self.known is None:
            return
        mine = self.known.config
        requested = DatasetConfig(
            model=replace(mine.model, name=self.model.name),
            sample=str(request.rule),
            precision=request.precision or mine.precision,
            dtype=request.dtype or mine.dtype,
        )
        self.dataset.check(requested)


def config_of(
    request: ExtractRequest, model: ModelInfo, *, known: DatasetInfo | None, hardware: Hardware
) -> DatasetConfig:
    """How the rows of a model are made, in a dataset that is ``known`` or new."""
    return DatasetConfig(
        model=model,
        sample=str(request.rule),
        precision=precision_of(request, known=known, hardware=hardware),
        dtype=request.dtype or (known.config.dtype if known else "float32"),
    )


def precision_of(request: ExtractRequest, *, known: DatasetInfo | None, hardware: Hardware) -> Precision:
    """What is asked for, the dataset's own, or what the hardware is good at."""
    return request.precision or (known.config.precision if known else hardware.usual_precision)


def destinations_of(request: ExtractRequest) -> tuple[Destination, ...]:
    """The datasets that a request fills: ``out`` for a single model, one in it for each of several.

    Raises:
        UsageError: ``out`` holds a dataset of one model, or of several, where it should be the other way round; or a
            dataset was made with other settings.
    """
    if len(request.models) == 1:
        [model] = request.models
        datasets = [_flat(request.out, model)]
    else:
        _refuse_flat(request.out, request.models)
        datasets = [dataset_within(request.out, folder_of(model.name)) for model in request.models]
    found = tuple(
        Destination(model=model, dataset=dataset, known=dataset.info())
        for model, dataset in zip(request.models, datasets, strict=True)
    )
    for each in found:
        each.check(request)
    return found


def _flat(out: str, model: ModelChoice) -> Dataset:
    dataset = Dataset.at(out)
    if dataset.info() is None:
        within = {name: info.config.model.name for name, (_, info) in datasets_within(out).items()}
        if any(folder_of(each) == name for name, each in within.items()):
            root = dataset.store.uri
            raise UsageError(
                f"{root} holds a dataset for each of several models ({', '.join(within)}): give "
                f"--out {root}/{folder_of(model.name)}, or --model for more than one"
            )
    return dataset


def _refuse_flat(out: str, models: tuple[ModelChoice, ...]) -> None:
    dataset = Dataset.at(out)
    info = dataset.info()
    if info is not None:
        root, folder = dataset.store.uri, folder_of(info.config.model.name)
        raise UsageError(
            f"{root} is the dataset of one model, {info.config.model.name}, and {len(models)} models need a folder "
            f"with a dataset for each: move what is in it to {root}/{folder}, which goes on from there, or give "
            "another --out"
        )
