"""Which datasets a request fills: one for a single model, a folder of them for several, and never the two mixed."""

from dataclasses import replace
from pathlib import Path

import pytest
from rows import TINY, config, new_dataset

from pipeline.errors import UsageError
from pipeline.extract.destinations import Destinations, destinations_of, known_thumbnails
from pipeline.extract.request import ExtractRequest, ModelChoice, RunOptions
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.declarations import declare
from pipeline.lake.files import ForeignFile
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.thumbnails import thumbnails_table


def dataset(folder: Path, model: str, *, sample: str = "fps:1") -> Dataset:
    made = Dataset.at(str(folder))
    made.store.ensure_writable()
    base = config(model=model, sample=sample)
    made.create(DatasetInfo(config=replace(base, model=replace(base.model, preprocessing=TINY)), weights="random:0"))
    return made


def found(out: Path, *models: str, sample: str = "fps:1", thumbnail_px: int | None = None) -> Destinations:
    request = ExtractRequest(
        inputs=("x.mp4",),
        out=str(out),
        models=tuple(ModelChoice(name=name, weights="random:0") for name in models),
        rule=parse_rule(sample),
        precision=None,
        dtype=None,
        run=RunOptions(),
        thumbnail_px=thumbnail_px,
    )
    return destinations_of(request)


def places(destinations: Destinations) -> list[str]:
    return [dataset.store.uri for dataset in destinations.datasets]


def test_a_single_model_makes_a_flat_dataset_and_several_a_folder_each(tmp_path: Path) -> None:
    assert places(found(tmp_path, "resnet18")) == [str(tmp_path)]
    names = ("resnet18", "timm/vit_tiny", "mine:make")
    assert places(found(tmp_path, *names)) == [
        f"{tmp_path}/{name}" for name in ("resnet18", "timm-vit_tiny", "mine-make")
    ]


def test_several_go_on_with_those_that_are_there(tmp_path: Path) -> None:
    dataset(tmp_path / "a", "a")
    destinations = found(tmp_path, "a", "b")
    assert [each.known is not None for each in destinations.models] == [True, False]
    with pytest.raises(UsageError, match=r"/a was made with other settings: --sample is fps:1, not fps:2"):
        found(tmp_path, "b", "a", sample="fps:2")


def test_several_into_a_flat_dataset_are_told_how_to_go_on(tmp_path: Path) -> None:
    dataset(tmp_path, "timm/x")
    with pytest.raises(UsageError, match=f"move what is in it to {tmp_path}/timm-x, which goes on from there"):
        found(tmp_path, "timm/x", "b")


def test_a_flat_dataset_that_was_moved_is_as_good_as_one_made_there(tmp_path: Path) -> None:
    dataset(tmp_path / "flat", "a")
    (tmp_path / "lake").mkdir()
    (tmp_path / "flat").rename(tmp_path / "lake" / "a")
    assert [each.known is not None for each in found(tmp_path / "lake", "a", "b").models] == [True, False]


def test_a_single_one_into_a_folder_of_several_is_told_where_it_goes(tmp_path: Path) -> None:
    dataset(tmp_path / "a", "a")
    with pytest.raises(UsageError, match=rf"\(a\): give --out {tmp_path}/b, or --model for more than one"):
        found(tmp_path, "b")


def test_datasets_of_other_names_do_not_make_a_folder_of_models(tmp_path: Path) -> None:
    dataset(tmp_path / "2023", "a")
    assert places(found(tmp_path, "a")) == [str(tmp_path)]


def test_thumbnails_go_to_a_flat_dataset_or_once_to_the_folder_above(tmp_path: Path) -> None:
    for names, folders in ((["a"], [""]), (["a", "b"], ["/a", "/b", ""])):
        destinations = found(tmp_path, *names, thumbnail_px=64)
        assert places(destinations) == [f"{tmp_path}{folder}" for folder in folders]
        assert destinations.thumbnails is not None
        assert destinations.thumbnails.dataset is destinations.datasets[-1]


def test_thumbnails_of_another_size_or_of_other_samples_are_refused(tmp_path: Path) -> None:
    made, token = new_dataset(tmp_path)
    declare(made.files, thumbnails_table(64, sample="fps:1"), token=token)
    assert found(tmp_path, "tiny", thumbnail_px=64).thumbnails is not None
    with pytest.raises(UsageError, match="thumbnails was made with other settings"):
        found(tmp_path, "tiny", thumbnail_px=128)


def test_what_a_dataset_says_of_its_thumbnails_is_believed_within_bounds(tmp_path: Path) -> None:
    made, token = new_dataset(tmp_path)
    assert known_thumbnails(made) is None
    declare(made.files, thumbnails_table(64, sample="fps:1"), token=token)
    known = known_thumbnails(made)
    assert known is not None
    assert (known.longest_px, known.sample) == (64, "fps:1")
    path = tmp_path / "_vidlake/tables/thumbnails.json"
    for told in ('"longest_px": 1000000000', '"longest_px": 0', '"longest_px": "x"', '"other": 64'):
        path.write_text(path.read_text().replace('"longest_px": 64', told))
        with pytest.raises(ForeignFile, match="thumbnails is damaged"):
            known_thumbnails(made)
        path.write_text(path.read_text().replace(told, '"longest_px": 64'))
