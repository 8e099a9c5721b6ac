"""What ``vidlake serve`` refuses before anything is started, and the configuration file for a cluster."""

import socket
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from commanded import refused
from ray.serve.schema import ServeDeploySchema

from serve.app import build
from serve.settings import Settings


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        pytest.param(["--host", "0.0.0.0"], "--insecure", id="everywhere without keys"),
        pytest.param(["--api-keys", "none.txt"], "none.txt", id="no key file"),
        pytest.param(["--replicas", "4-2"], "MIN-MAX", id="bad replicas"),
        pytest.param(["--max-body", "lots"], "GiB", id="bad size"),
        pytest.param(["--from", "no-such-lake"], "no dataset", id="no dataset"),
        pytest.param(["--from", "lake", "--precision", "fp16"], "--precision", id="a dataset and a precision"),
        pytest.param(["--lake", "no-such-lake"], "no dataset", id="no lake"),
        pytest.param(["--lake", "lake", "--from", "lake"], "leave out --from", id="a lake and a dataset"),
        pytest.param(["--allowed-origin", "*"], "--allowed-origin", id="every page"),
        pytest.param(["--live-memory", "some"], "GiB", id="bad memory"),
        pytest.param(["--streams", "streams.yaml"], "--out LAKE", id="streams without a lake"),
        pytest.param(["--allow-source", "rtsp://a:554"], "--out LAKE", id="sources without a lake"),
        pytest.param(["--out", "lake", "--streams", "none.yaml"], "none.yaml", id="no streams file"),
        pytest.param(["--out", "lake", "--allow-source", "camera"], "scheme://host:port", id="no pattern"),
        pytest.param(["--out", "lake", "--record", "rec", "--keep", "long"], "24h", id="bad span of time"),
        pytest.param(["--out", "ftp://lake"], "--out 'ftp://lake'", id="no place for a lake"),
        pytest.param(["--host", "192.0.2.77", "--insecure"], "cannot listen", id="not our address"),
    ],
)
def test_misuse_is_one_line_that_names_the_word(options: list[str], advice: str) -> None:
    assert advice in refused(*options)


def test_port_that_is_taken_is_told_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen" in refused("--port", taken.getsockname()[1])


def test_cluster_configuration_is_valid() -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "serve" / "config.yaml").read_text())
    schema = ServeDeploySchema(**document)
    [application] = schema.applications
    assert application.import_path == "serve.app:build"
    settings = Settings.model_validate(application.args)
    assert not settings.access.is_loopback, "on a cluster a replica without keys must refuse to start"
    deployment = cast(Any, build(settings))._bound_deployment
    assert deployment.max_ongoing_requests > settings.limits.queue + settings.limits.sockets
    assert deployment._deployment_config.autoscaling_config.max_replicas == settings.replicas.max


def test_streams_are_held_once_however_many_replicas_answer() -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "serve" / "config.yaml").read_text())
    [application] = document["applications"]
    args = application["args"] | {"cameras": {"lake": "abfs://lakes/cameras", "streams_file": "/home/ray/streams.yaml"}}
    replica = cast(Any, build(Settings.model_validate(args)))._bound_deployment
    [_, host] = replica.init_args
    assert host._bound_deployment._deployment_config.num_replicas == 1
    assert host._bound_deployment.ray_actor_options["num_cpus"] == 0, "it never waits for a core"
    assert replica._deployment_config.autoscaling_config.max_replicas > 1
