"""``cluster.yaml``: what Ray checks before it starts a machine, and what Ray does not know to check."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from clusters import ROOT
from ray.autoscaler._private.util import prepare_config, validate_config

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
TYPES: dict[str, Any] = CONFIG["available_node_types"]


def test_ray_takes_it() -> None:
    prepared = prepare_config(CONFIG)
    validate_config(prepared)
    assert prepared["available_node_types"].keys() == {"head", "decoders", "models"}
    assert prepared["head_setup_commands"][:2] == CONFIG["setup_commands"]


def test_ray_would_tell_a_slip() -> None:
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config({**CONFIG, "max_wrokers": 3}))


def test_machines_are_those_that_azures_template_can_make() -> None:
    """It fails at Azure, minutes into `ray up`, on a parameter that it does not know."""
    folder = Path(ray.autoscaler.__file__).parent / "_private" / "_azure"
    known = set(yaml.safe_load((folder / "azure-vm-template.json").read_text().replace("\t", " "))["parameters"])
    for kind in TYPES.values():
        assert set(kind["node_config"]["azure_arm_parameters"]) <= known | {"availability_zone"}


def test_workers_start_from_zero_on_spot_machines_and_the_head_does_no_work() -> None:
    head = TYPES[CONFIG["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "priority" not in head["node_config"]["azure_arm_parameters"]
    workers = [kind for name, kind in TYPES.items() if name != CONFIG["head_node_type"]]
    assert all(kind["min_workers"] == 0 for kind in workers)
    assert all(kind["node_config"]["azure_arm_parameters"]["priority"] == "Spot" for kind in workers)
    assert sum(kind["max_workers"] for kind in workers) <= CONFIG["max_workers"]
    assert sorted(kind["resources"].get("GPU", 0) for kind in workers) == [0, 1]


def test_images_hold_the_python_and_the_ray_of_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest, newest = re.findall(r"3\.(\d+)", project["requires-python"])
    images = [CONFIG["docker"]["image"], TYPES["models"]["docker"]["worker_image"]]
    for image in images:
        match = re.fullmatch(r"rayproject/ray:([\d.]+)-py3(\d+)-(cpu|gpu)", image)
        assert match is not None, image
        assert match[1] == LOCKED["ray"]
        assert int(oldest) <= int(match[2]) < int(newest)
    assert len({image.rpartition("-")[0] for image in images}) == 1, "nodes of one cluster share one Python"


def test_nodes_get_the_project_and_install_its_lock() -> None:
    mounts = {remote: ROOT / local for remote, local in CONFIG["file_mounts"].items()}
    assert all(local.exists() for local in mounts.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"pipeline", "serve", "pyproject.toml", "requirements.lock", project["readme"], *project["license-files"]}
    assert {local.name for local in mounts.values()} == needed
    assert {str(Path(remote).parent) for remote in mounts} == {"/home/ray/vidlake"}
    lock, install = CONFIG["setup_commands"]
    assert "--require-hashes -r /home/ray/vidlake/requirements.lock" in lock
    assert install.endswith("--no-deps --no-build-isolation /home/ray/vidlake")


def test_autoscaler_calls_azure_with_the_libraries_that_ray_names() -> None:
    defaults = Path(ray.autoscaler.__file__).parent / "azure" / "defaults.yaml"
    theirs = set(" ".join(yaml.safe_load(defaults.read_text())["head_setup_commands"]).split())
    ours = {word for command in CONFIG["head_setup_commands"] for word in command.split() if "==" in word}
    assert ours <= theirs
    assert {"azure-mgmt-compute", "azure-mgmt-network", "azure-mgmt-resource"} <= {
        word.partition("==")[0] for word in ours
    }


def test_nothing_but_ssh_is_open_and_no_secret_is_inside() -> None:
    assert any("--dashboard-host=127.0.0.1" in command for command in CONFIG["head_start_ray_commands"])
    text = (ROOT / "cluster.yaml").read_text()
    assert not re.search(r"(AccountKey|SharedAccess|sig=|password\s*[:=]|[A-Z_]*(SECRET|_KEY)\s*=)", text)
