"""Which datasets a request fills, and whether they fit it: told before anything is started, as far as it can be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UsageError
from pipeline.extract.request import ExtractRequest, ModelChoice
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.declarations import check_declared, declared
from pipeline.lake.files import ForeignFile
from pipeline.lake.model_folders import dataset_within, datasets_within
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.documents import text, whole
from pipeline.records.model_info import ModelInfo, Precision, folder_of
from pipeline.records.resources import Hardware
from pipeline.records.thumbnails import MOST_THUMBNAIL_PX, THUMBNAILS, thumbnails_table


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
        model, stride = replace(mine.model, name=self.model.name), mine.stride
        if request.windows is not None:
            try:
                preprocessing = replace(model.preprocessing, window=request.windows.length)
            except ValueError as error:
                raise UsageError(f"--window {request.windows}: {error}") from None
            model, stride = replace(model, preprocessing=preprocessing), request.windows.stride
        requested = DatasetConfig(
            model=model,
            sample=str(request.rule),
            precision=request.precision or mine.precision,
            dtype=request.dtype or mine.dtype,
            stride=stride,
        )
        self.dataset.check(requested)

    def window(self, request: ExtractRequest) -> int | None:
        """How many samples the model is to take at once, as far as that is said."""
        return window_of(request, known=self.known)


def config_of(
    request: ExtractRequest, model: ModelInfo, *, known: DatasetInfo | None, hardware: Hardware
) -> DatasetConfig:
    """How the rows of a model are made, in a dataset that is ``known`` or new."""
    return DatasetConfig(
        model=model,
        sample=str(request.rule),
        precision=precision_of(request, known=known, hardware=hardware),
        dtype=request.dtype or (known.config.dtype if known else "float32"),
        stride=_stride_of(request, model, known=known),
    )


def window_of(request: ExtractRequest, *, known: DatasetInfo | None) -> int | None:
    """How many samples a model is asked to take at once, or takes in its dataset; ``None``: as it was trained."""
    if request.windows is not None:
        return request.windows.length
    return None if known is None else known.config.model.preprocessing.window


def _stride_of(request: ExtractRequest, model: ModelInfo, *, known: DatasetInfo | None) -> int | None:
    if request.windows is not None:
        return request.windows.stride
    return model.preprocessing.window if known is None else known.config.stride


def precision_of(request: ExtractRequest, *, known: DatasetInfo | None, hardware: Hardware) -> Precision:
    """What is asked for, the dataset's own, or what the hardware is good at."""
    return request.precision or (known.config.precision if known else hardware.usual_precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailPlace:
    """Where thumbnails go: the dataset of a single model, or the folder above those of several."""

    dataset: Dataset
    longest_px: int
    sample: str

    def check(self) -> None:
        """Make sure that those which are there were made in the same way.

        Raises:
            UsageError: they were not.
        """
        check_declared(self.dataset.files, thumbnails_table(self.longest_px, sample=self.sample))


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """What a request fills."""

    models: tuple[Destination, ...]
    thumbnails: ThumbnailPlace | None

    @property
    def datasets(self) -> list[Dataset]:
        """Those of the models, and then the folder above where it gets the thumbnails."""
        return with_thumbnails([each.dataset for each in self.models], self.thumbnails)

    def check_thumbnails(self, infos: Sequence[DatasetInfo]) -> None:
        """Make sure that thumbnails do not share the plan of a model of clips, whose segments read on for windows.

        Raises:
            UsageError: they would.
        """
        place = self.thumbnails
        for each, info in zip(self.models, infos, strict=True):
            if place is not None and each.dataset is place.dataset and info.config.windows is not None:
                name = info.config.model.name
                raise UsageError(
                    f"--thumbnails are of samples, and rows of {name} are of windows: make them with a model of "
                    "pictures, or with several models"
                )


def with_thumbnails(datasets: list[Dataset], thumbnails: ThumbnailPlace | None) -> list[Dataset]:
    """The datasets, and behind them the place of thumbnails where it is none of them."""
    is_another = thumbnails is not None and thumbnails.dataset not in datasets
    return [*datasets, thumbnails.dataset] if thumbnails is not None and is_another else datasets


def known_thumbnails(dataset: Dataset) -> ThumbnailPlace | None:
    """The thumbnails that a dataset, or a folder of several, has; ``None``: none were asked for.

    Raises:
        ForeignFile: their declaration is damaged.
    """
    for declaration in declared(dataset.files):
        if declaration.name == THUMBNAILS:
            try:
                longest_px, sample = whole(declaration.made_by, "longest_px"), text(declaration.made_by, "sample")
                if not 1 <= longest_px <= MOST_THUMBNAIL_PX:
                    raise ValueError(f"{longest_px} pixels")
                parse_rule(sample)
            except (KeyError, TypeError, ValueError, UsageError) as error:
                uri = dataset.files.uri(THUMBNAILS)
                raise ForeignFile(f"the declaration of {uri} is damaged ({error}): remove both") from None
            return ThumbnailPlace(dataset=dataset, longest_px=longest_px, sample=sample)
    return None


def destinations_of(request: ExtractRequest) -> Destinations:
    """What a request fills: for a single model the dataset ``out``, for each of several one in it.

    Raises:
        UsageError: ``out`` holds a dataset of one model, or of several, where it should be the other way round; or
            what is there was made with other settings.
    """
    if len(request.models) == 1:
        [model] = request.models
        above = _flat(request.out, model)
        datasets = [above]
    else:
        above = Dataset.at(request.out)
        _refuse_flat(above, request.models)
        datasets = [dataset_within(request.out, folder_of(model.name)) for model in request.models]
    models = tuple(
        Destination(model=model, dataset=dataset, known=dataset.info())
        for model, dataset in zip(request.models, datasets, strict=True)
    )
    for each in models:
        each.check(request)
    thumbnails = None
    if request.thumbnail_px is not None:
        thumbnails = ThumbnailPlace(dataset=above, longest_px=request.thumbnail_px, sample=str(request.rule))
        thumbnails.check()
    return Destinations(models=models, thumbnails=thumbnails)


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


def _refuse_flat(dataset: Dataset, models: tuple[ModelChoice, ...]) -> None:
    info = dataset.info()
    if info is not None:
        root, folder = dataset.store.uri, folder_of(info.config.model.name)
        raise UsageError(
            f"{root} is the dataset of one model, {info.config.model.name}, and {len(models)} models need a folder "
            f"with a dataset for each: move what is in it to {root}/{folder}, which goes on from there, or give "
            "another --out"
        )
