"""``serve --heads`` without ``--model``: the model of the heads in use. A head is data: it runs and fetches nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from commanded import refused
from heads import backbone
from served_heads import put, served_backbone, use, video_cnn

from pipeline.errors import UsageError
from serve.inference.head_backbones import folder_at, model_of_heads
from serve.settings import HeadSettings, ModelSettings

ADDRESS = "https://evil.example/weights.pt"


def of_heads(folder: Path, *, weights: str | None = None) -> ModelSettings:
    return model_of_heads(str(folder), weights=weights)


def test_model_weights_and_precision_are_those_of_the_heads_in_use(tmp_path: Path) -> None:
    put(tmp_path, "one")
    put(tmp_path, "two", unit="video")
    assert of_heads(tmp_path) == ModelSettings(
        name="video_cnn", weights="random:0", precision="fp32", weights_digest=video_cnn().weights_digest
    )


def test_heads_of_different_models_are_named(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    put(tmp_path, "other", backbones=[backbone(name="resnet18")])
    with pytest.raises(UsageError) as refusal:
        of_heads(tmp_path)
    for word in ("mine of video_cnn (random:0, fp32", "other of resnet18", "--model"):
        assert word in str(refusal.value)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_heads_of_one_model_in_different_precisions_differ(tmp_path: Path, precision: str) -> None:
    put(tmp_path, "mine")
    put(tmp_path, "half", backbones=[replace(served_backbone(), precision=precision)])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=precision):
        of_heads(tmp_path)


def test_only_the_version_in_use_counts(tmp_path: Path) -> None:
    put(tmp_path, "mine", backbones=[backbone(name="resnet18")])
    put(tmp_path, "mine")
    put(tmp_path, "idle", backbones=[backbone(name="resnet50")], is_in_use=False)
    assert of_heads(tmp_path).name == "video_cnn"


def test_heads_that_are_broken_or_of_several_models_have_no_say(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    put(tmp_path, "several", backbones=[served_backbone(), backbone(name="resnet18")])
    put(tmp_path, "broken", backbones=[backbone(name="resnet18")])
    (tmp_path / "broken" / "1" / "head.json").write_text("{")
    put(tmp_path, "absent")
    use(tmp_path, "absent", 9)
    assert of_heads(tmp_path).name == "video_cnn"


def test_no_head_in_use_says_no_model(tmp_path: Path) -> None:
    put(tmp_path, "idle", is_in_use=False)
    with pytest.raises(UsageError, match="give --model"):
        of_heads(tmp_path)


def test_code_that_a_head_names_runs_only_where_the_command_line_repeats_it(tmp_path: Path) -> None:
    put(tmp_path, "evil", backbones=[backbone(name="evil:make")])
    with pytest.raises(UsageError, match=r"add --model evil:make --weights random:0 --precision fp32"):
        of_heads(tmp_path)


def test_address_that_a_head_names_is_read_only_where_the_command_line_repeats_it(tmp_path: Path) -> None:
    put(tmp_path, "evil", backbones=[served_backbone(weights=ADDRESS)])
    with pytest.raises(UsageError, match=f"add --weights {ADDRESS}"):
        of_heads(tmp_path)
    repeated = of_heads(tmp_path, weights=ADDRESS)
    assert (repeated.weights, repeated.weights_digest) == (ADDRESS, video_cnn().weights_digest)


def test_weights_out_of_a_seed_go_before_the_same_ones_in_a_file(tmp_path: Path) -> None:
    put(tmp_path, "a", backbones=[served_backbone(weights="/elsewhere/weights.pt")])
    put(tmp_path, "b")
    assert of_heads(tmp_path).weights == "random:0"


def test_folder_is_found_from_wherever_the_replica_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads").mkdir()
    assert folder_at("heads") == str(tmp_path / "heads")
    with pytest.raises(UsageError, match="no such folder"):
        folder_at("haeds")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        pytest.param(["--heads", "none"], "no such folder", id="no folder"),
        pytest.param(["--heads", "https://example.com/heads"], "https", id="an address that holds no heads"),
        pytest.param(["--heads", "HEADS", "--precision", "fp16"], "leave out --precision", id="a precision"),
        pytest.param(["--heads", "HEADS", "--default-head", "nobody"], "there is mine", id="no such default"),
        pytest.param(["--default-head", "mine"], "--heads", id="a default of nothing"),
        pytest.param(["--heads", "HEADS", "--admin-keys", "none.txt"], "--admin-keys none.txt", id="no key file"),
    ],
)
def test_misuse_is_one_line_that_names_the_word(tmp_path: Path, words: list[str], advice: str) -> None:
    put(tmp_path, "mine")
    assert advice in refused(*[str(tmp_path) if word == "HEADS" else word for word in words])


def test_default_head_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="folder of heads"):
        HeadSettings(default="frame")
