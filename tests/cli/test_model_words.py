"""``--model NAME[=WEIGHTS]``, several times, and ``models:`` of a YAML file."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.cli.options import CONFIG, MODELS, models_of
from pipeline.errors import UsageError
from pipeline.extract.request import ModelChoice


def choices(*words: str, weights: str | None = None) -> list[tuple[str, str]]:
    return [(each.name, each.weights) for each in models_of(words, weights=weights)]


def test_each_model_has_its_own_weights_or_the_librarys() -> None:
    assert choices("resnet18=random:0", "video_cnn", "timm/x=w=1.pt") == [
        ("resnet18", "random:0"),
        ("video_cnn", "default"),
        ("timm/x", "w=1.pt"),
    ]
    assert choices("resnet18", weights="random:7") == [("resnet18", "random:7")]
    assert models_of(["a=s3://key:secret@b/w.pt"], weights=None) == (ModelChoice(name="a", weights="s3://b/w.pt"),)


@pytest.mark.parametrize(
    ("words", "weights", "told"),
    [
        pytest.param(["a", "b"], "random:0", "--weights is of a single model", id="weights of which?"),
        pytest.param(["a=random:0"], "random:0", "--weights is of a single model", id="weights twice"),
        pytest.param(["a", "a=random:1"], None, "share the folder a", id="one model twice"),
        pytest.param(["timm/a", "timm:a"], None, "share the folder timm-a", id="one folder for two"),
        pytest.param(["=random:0"], None, "use NAME or NAME=WEIGHTS", id="no name"),
        pytest.param(["a="], None, "use NAME or NAME=WEIGHTS", id="no weights"),
        pytest.param([""], None, "use NAME or NAME=WEIGHTS", id="nothing"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: list[str], weights: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        models_of(words, weights=weights)


@click.command()
@MODELS
@CONFIG
def show(*, models: tuple[str, ...], weights: str | None, sample: str, **_: object) -> list[object]:
    return [list(models), weights, sample]


def shown(tmp_path: Path, text: str, *words: str) -> object:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return (
        CliRunner()
        .invoke(show, ["--config", str(path), *words], standalone_mode=False, catch_exceptions=False)
        .return_value
    )


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("models: [a=random:0, b]\n", ["a=random:0", "b"]),
        ("models:\n- a\n", ["a"]),
        ("models: a\n", ["a"]),
        ("model: resnet18\n", ["resnet18"]),
        ("sample: fps:1\n", []),
    ],
)
def test_a_file_lists_models_or_names_a_single_one(text: str, models: list[str], tmp_path: Path) -> None:
    assert shown(tmp_path, text) == [models, None, "fps:1"]
    assert shown(tmp_path, text, "--model", "c") == [["c"], None, "fps:1"], "the command line wins"


@pytest.mark.parametrize("text", ["models: [1, 2]\n", "models: {a: random:0}\n", "model: a\nmodels: [b]\n"])
def test_a_file_that_says_something_else_of_models_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="models"):
        shown(tmp_path, text)
