"""What ``watch`` makes of its words: mistakes are one line and exit status 2, and no password is among them."""

from pathlib import Path
from typing import get_type_hints

import click
import pytest
from click.testing import CliRunner
from command import vidlake

from pipeline.cli import watch_words
from pipeline.cli.options import CONFIG
from pipeline.cli.watch_words import WATCH, WatchRequest, WatchWords, names_of, watch_request_of
from pipeline.errors import UsageError

CAMERA = "rtsp://10.0.0.7/stream1"


def parsed(*words: str) -> WatchRequest:
    requests: list[WatchRequest] = []

    @click.command()
    @click.argument("sources", nargs=-1, required=True)
    @WATCH
    @CONFIG
    def show(**words: object) -> None:
        requests.append(watch_request_of(words))  # type: ignore[arg-type]

    CliRunner().invoke(show, list(words), standalone_mode=False, catch_exceptions=False)
    return requests[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param([], "SOURCE", id="no-source"),
        pytest.param([CAMERA], "--out", id="no-lake"),
        pytest.param([CAMERA, "--out", ""], "--out is empty", id="empty-lake"),
        pytest.param(["rtmp://host/live", "--out", "o"], "rtmp", id="another-kind-of-source"),
        pytest.param(["rtsp://", "--out", "o"], "source", id="no-address"),
        pytest.param([CAMERA, "--out", "o", "--sample", "every:3"], "fps:R", id="another-rule"),
        pytest.param([CAMERA, "--out", "o", "--name", "a", "--name", "b"], "--name", id="names-for-nobody"),
        pytest.param([CAMERA, CAMERA, "--out", "o", "--name", "a", "--name", "a"], "--name", id="a-name-twice"),
        pytest.param([CAMERA, "--out", "o", "--name", "../x"], "'../x'", id="a-path-as-a-name"),
        pytest.param([CAMERA, "--out", "o", "--line", "L:0,0,1,1"], "--detect", id="a-line-without-objects"),
        pytest.param([CAMERA, "--out", "o", "--detect", "motion", "--line", "L:0,0"], "L:0,0", id="half-a-line"),
        pytest.param([CAMERA, "--out", "o", "--head", "door"], "--heads", id="a-head-of-nowhere"),
        pytest.param([CAMERA, "--out", "o", "--keep", "long"], "24h", id="no-time"),
        pytest.param([CAMERA, "--out", "o", "--allow-source", "rtsp://*"], "--allow-source", id="no-pattern"),
    ],
)
def test_misuse_is_one_line_that_names_the_word(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    done = vidlake("watch", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(scheme: str, tmp_path: Path) -> None:
    source = f"{scheme}://viewer:pw-secret@10.0.0.7/stream1?x=1"
    done = vidlake("watch", source, "--name", "front door".replace(" ", "-"), "--out", tmp_path / "lake")

    assert done.returncode == 2
    assert "VIDLAKE_STREAM_FRONT_DOOR_PASSWORD" in done.stderr
    assert "pw-secret" not in done.stderr


def test_credentials_come_from_variables_and_stand_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDLAKE_STREAM_FRONT_DOOR_USER", "viewer")
    monkeypatch.setenv("VIDLAKE_STREAM_FRONT_DOOR_PASSWORD", "pw-secret")
    request = parsed(CAMERA, "--name", "front-door", "--out", "o")
    [(_, source)] = request.streams

    assert source.credentials is not None
    assert source.credentials.password == "pw-secret"
    assert "pw-secret" not in repr(request)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param("rtsp://10.0.0.7/stream1", "10.0.0.7-stream1", id="camera"),
        pytest.param("rtsp://viewer@cam.example:8554/a/b?token=5", "cam.example-8554-a-b", id="no-user-no-query"),
        pytest.param("file:/clips/car-detection.mp4", "car-detection", id="file"),
        pytest.param(f"https://host/{'x' * 99}", f"host-{'x' * 59}", id="long"),
        pytest.param("http://[::1]/", "1", id="numbers"),
    ],
)
def test_a_stream_without_a_name_is_called_after_its_source(source: str, name: str) -> None:
    assert names_of([source], []) == (name,)


def test_two_streams_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="--name"):
        names_of([CAMERA, CAMERA], [])


def test_the_config_file_says_the_same_by_the_names_of_the_options(tmp_path: Path) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text(
        "sources: [rtsp://10.0.0.7/a, rtsp://10.0.0.8/b]\nname: [a, b]\nout: lake\nmotion: off\ndetect: motion\n"
        "line: ROAD:0,0.5,1,0.5\nzone: ['Z:0,0,1,0,1,1']\nsample: fps:5\nallow-source: http://cdn.example:*\n"
    )
    words = ["rtsp://10.0.0.7/a", "rtsp://10.0.0.8/b", "--name", "a", "--name", "b", "--out", "lake"]
    words += ["--detect", "motion", "--line", "ROAD:0,0.5,1,0.5", "--zone", "Z:0,0,1,0,1,1", "--sample", "fps:5"]

    assert parsed("--config", str(path)) == parsed(*words, "--allow-source", "http://cdn.example:*")


def test_the_words_are_those_that_the_options_give() -> None:
    @click.command()
    @click.argument("sources", nargs=-1)
    @WATCH
    def show() -> None: ...

    assert {parameter.name for parameter in show.params} == get_type_hints(WatchWords, vars(watch_words)).keys()
