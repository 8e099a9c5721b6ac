"""A folder of datasets, one for each model of a run: ``LAKE/resnet18`` beside ``LAKE/video_cnn``.

Each of them is a dataset by itself, which may be copied away; the folder above holds nothing that they need.
"""

from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.publishing.store import TEMPORARIES

_OURS = TEMPORARIES.partition("/")[0]


def folder_above(uri: str) -> str:
    """The folder that a dataset of several lies in."""
    return uri.rstrip("/").rpartition("/")[0]


def dataset_within(uri: str, folder: str) -> Dataset:
    """A dataset of a folder, which need not exist yet."""
    return Dataset.at(f"{uri.rstrip('/')}/{folder}")


def datasets_within(uri: str) -> dict[str, tuple[Dataset, DatasetInfo]]:
    """The datasets in a folder, by the names of theirs; empty where there is none.

    Raises:
        UsageError, ForeignFile: as ``Dataset.info``.
        StorageError: the store failed.
    """
    names = [name for name in Dataset.at(uri).store.folders("") if name[0] != "." and name != _OURS]
    datasets = {name: dataset_within(uri, name) for name in names}
    return {name: (each, info) for name, each in datasets.items() if (info := each.info()) is not None}


def existing_dataset(uri: str, *, command: str) -> Dataset:
    """The dataset at ``uri``, for a command that takes a single one.

    Raises:
        UsageError: there is none, or a folder of several, which are named.
    """
    dataset = Dataset.at(uri)
    if dataset.info() is None:
        names = datasets_within(uri)
        if names:
            root = dataset.store.uri
            raise UsageError(
                f"{root} holds the datasets of several models ({', '.join(names)}): "
                f"give one of them, such as vidlake {command} {root}/{next(iter(names))}"
            )
        dataset.existing()
    return dataset
