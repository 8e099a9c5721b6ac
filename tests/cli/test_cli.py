"""What the command line makes of words: usage errors are one line and exit status 2, before anything is started."""

from pathlib import Path

import pytest
from command import refused, vidlake


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["extract"], "INPUT", id="no input"),
        pytest.param(["extract", "x.mp4"], "--out", id="no out"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--samples", "all"], "--sample", id="unknown option"),
        pytest.param(["extract", "--no-such-option"], "--no-such-option", id="unknown option alone"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--sample", "fps:zero"], "fps:R", id="bad rule"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--sample", "fps:0"], "fps:R", id="rate of zero"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--shard", "3/2"], "I/N", id="bad shard"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--decode-memory", "lots"], "GiB", id="bad size"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--precision", "int8"], "fp32", id="bad precision"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--min-cpus", "8"], "--address", id="growth of no cluster"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--limit", "0"], "--limit", id="limit of zero"),
        pytest.param(["extract", "x.mp4", "--out", "o", "--config", "none.yaml"], "none.yaml", id="no config"),
        pytest.param(["extract", "nothing/*.mp4", "--out", "o"], "nothing/*.mp4", id="input that matches nothing"),
        pytest.param(["extract", "ftp://host/a.mp4", "--out", "o"], "ftp", id="store that is not known"),
        pytest.param(["extract", "", "--out", "o"], "INPUT is empty", id="empty input"),
        pytest.param(["extract", "x.mp4", "", "--out", ""], "--out is empty", id="empty out"),
        pytest.param(["plan", "x.mp4", "--out", ""], "--out is empty", id="empty out of a plan"),
        pytest.param(["status", ""], "address is empty", id="empty dataset"),
        pytest.param(["retry", ""], "address is empty", id="empty dataset to retry"),
        pytest.param(["compact", "", "--out", "o"], "address is empty", id="empty dataset to compact"),
        pytest.param(["compact", "o", "--out", ""], "address is empty", id="empty new dataset"),
        pytest.param(["status", "no-such-lake"], "no dataset", id="no dataset"),
        pytest.param(["extrakt"], "extrakt", id="unknown command"),
    ],
)
def test_misuse_is_one_line_that_names_the_word(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    assert told in refused(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param("modell: resnet18\n", "'modell'", id="unknown key"),
        pytest.param("model: [\n", "config.yaml", id="no YAML"),
        pytest.param("resnet18\n", "option: value", id="no mapping"),
        pytest.param("sample: fps:zero\n", "fps:zero", id="bad value"),
    ],
)
def test_bad_config_file_is_one_line(content: str, told: str, tmp_path: Path) -> None:
    config, video = tmp_path / "config.yaml", tmp_path / "a.mp4"
    config.write_text(content)
    video.touch()
    assert told in refused("extract", video, "--out", tmp_path / "o", "--config", config)


def test_command_line_wins_over_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("sample: fps:zero\ndecode-memory: lots\nout: nowhere\n")
    done = vidlake("extract", tmp_path / "none.mp4", "--config", config, "--sample", "all", "--decode-memory", "1GiB")
    assert done.returncode == 2
    assert "no such input" in done.stderr


def test_help_names_every_command() -> None:
    said = vidlake("--help").stdout
    assert all(command in said for command in ("extract", "plan", "status", "retry", "compact", "models"))


def test_models_lists_the_registry() -> None:
    said = vidlake("models").stdout
    assert all(name in said for name in ("efficientnet_lite0", "resnet50", "video_cnn", "timm/NAME"))
