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
        pytest.param(["--allowed-origin", "*"], "--allowed-origin", id="every page"),
        pytest.param(["--live-memory", "some"], "GiB", id="bad memory"),
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
