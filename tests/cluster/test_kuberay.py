"""The manifests for KubeRay, against its own resource definitions where they are at hand, and by what we know of them.

The definitions are a megabyte each and not ours: they are looked for beside the project, in ``../shared/schemas``.
Without them the first test is skipped, and says so; all others hold everywhere.
"""

import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from clusters import ROOT
from jsonschema import Draft202012Validator

from pipeline.cli.main import cli

FOLDER = ROOT / "docs" / "kuberay"
SCHEMAS = ROOT.parent / "shared" / "schemas"
JOB: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
SERVICE: dict[str, Any] = yaml.safe_load((FOLDER / "rayservice.yaml").read_text())
CLUSTERS = {"job": JOB["spec"]["rayClusterSpec"], "service": SERVICE["spec"]["rayClusterConfig"]}
RAY = re.findall(r"^ray==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[0]


def strict(schema: Any) -> Any:
    """As the API server reads it with ``--validate=strict``: a field that is not named is an error."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def violations(manifest: dict[str, Any], definition: dict[str, Any]) -> list[str]:
    [version] = [entry for entry in definition["spec"]["versions"] if entry["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(manifest)]


@pytest.mark.parametrize("manifest", [JOB, SERVICE], ids=["rayjob", "rayservice"])
def test_kuberays_own_definition_takes_it(manifest: dict[str, Any]) -> None:
    path = SCHEMAS / f"ray.io_{manifest['kind'].lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"KubeRay's definitions are not at hand: {path}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load(path.read_text(), Loader=loader)
    assert violations(manifest, definition) == []
    assert violations({**manifest, "spec": {**manifest["spec"], "entrypont": "x"}}, definition)
    without = {name: part for name, part in manifest["spec"].items() if not name.startswith("rayCluster")}
    broken = {**without, next(name for name in manifest["spec"] if name.startswith("rayCluster")): {"rayVersion": 2}}
    assert violations({**manifest, "spec": broken}, definition)


@pytest.mark.parametrize("manifest", [JOB, SERVICE], ids=["rayjob", "rayservice"])
def test_it_is_one_of_kuberays(manifest: dict[str, Any]) -> None:
    assert manifest["apiVersion"] == "ray.io/v1"
    assert manifest["kind"] in {"RayJob", "RayService"}
    assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_pods_are_complete_and_workers_can_start_from_zero(name: str) -> None:
    cluster = CLUSTERS[name]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert cluster["rayVersion"] == RAY
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        assert container["image"] == "REGISTRY/vidlake:0.1.0"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    for worker in cluster["workerGroupSpecs"]:
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]


def test_job_is_a_command_that_vidlake_takes() -> None:
    python, dash, module, command, *words = shlex.split(JOB["spec"]["entrypoint"])
    assert (python, dash, module, command) == ("python", "-m", "pipeline", "extract")
    extract = cast(Any, cli).get_command(None, command)
    with extract.make_context(command, words) as context:
        assert context.params["address"] == "auto"
        gpus = [
            int(group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0))
            * group["maxReplicas"]
            for group in CLUSTERS["job"]["workerGroupSpecs"]
        ]
        assert context.params["min_gpus"] <= sum(gpus)


def test_service_is_serve_config() -> None:
    assert yaml.safe_load(SERVICE["spec"]["serveConfigV2"]) == yaml.safe_load(
        (ROOT / "serve" / "config.yaml").read_text()
    )


def test_keys_are_a_secret_of_the_cluster() -> None:
    for group in (CLUSTERS["service"]["headGroupSpec"], *CLUSTERS["service"]["workerGroupSpecs"]):
        [variable] = group["template"]["spec"]["containers"][0]["env"]
        assert variable["name"] == "VIDLAKE_API_KEYS"
        assert set(variable["valueFrom"]) == {"secretKeyRef"}


def test_image_holds_the_python_and_the_ray_of_the_lock_and_what_it_copies_exists() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    assert re.search(rf"^FROM rayproject/ray:{re.escape(RAY)}-py311-gpu$", text, re.MULTILINE)
    sources = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[1:-1]]
    assert all(Path(ROOT / source).exists() for source in sources)
