"""The arrows between our modules point one way, and each heavy library has one home."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The wings of the house, from below: a wing imports only from those above it in this list.
WINGS = (
    "errors",
    "records",
    "storage",
    "inputs",
    "media",
    "models",
    "lake",
    "stages",
    "cameras",
    "cluster",
    "extract",
    "training",
    "explore",
    "cli",
    "__main__",
)
# The same of the server: leaf modules, folders, and the modules that put them together.
SERVE_ROOMS = (
    "settings",
    "problems",
    "metrics",
    "inference",
    "cameras",
    "web",
    "protocols",
    "console",
    "routes",
    "app",
    "local",
    "cli",
)

MOST_LAYERS = 7
"""Of the server: rooms on top of each other."""

# A library, and the only modules that may import it; a home that ends in a dot is a package with all that is in it.
HOMES = {
    "obstore": ("pipeline.storage.buckets.",),
    "httpx": (
        "pipeline.storage.http_object",
        "pipeline.training.live_comparison",
        "pipeline.cameras.analysis.extension",
        "pipeline.cameras.sinks.webhook",
    ),
    "scipy": ("pipeline.cameras.analysis.",),
    "av": ("pipeline.media.",),
    "torch": ("pipeline.models.", "pipeline.training."),
    "torchvision": ("pipeline.models.",),
    "timm": ("pipeline.models.",),
    "safetensors": ("pipeline.models.", "pipeline.training."),
    "sklearn": ("pipeline.training.",),
    "matplotlib": ("pipeline.training.",),
    "ray": (
        "pipeline.extract.dataflow",
        "pipeline.extract.sinks",
        "pipeline.extract.shared_tally",
        "pipeline.extract.model_actors",
        "pipeline.cluster.",
        "pipeline.training.finetune.",
        "pipeline.cameras.streams",
        "pipeline.cameras.detector_actor",
        "pipeline.cameras.actor_ends",
        "pipeline.cameras.watched",
        "pipeline.cameras.stream_actor",
        "pipeline.cameras.model_actor",
        "serve.",
    ),
    "ray.train": ("pipeline.training.finetune.",),
    "ray.data": ("pipeline.extract.dataflow", "pipeline.extract.sinks"),
    "ray.serve": ("serve.",),
    "fastapi": ("serve.",),
    "starlette": ("serve.",),
    "sse_starlette": ("serve.protocols.events",),
    "pydantic": ("serve.",),
    "duckdb": ("pipeline.explore.conditions",),
    "faiss": ("pipeline.explore.",),
    "click": ("pipeline.cli.", "serve.cli"),
    "PIL": ("pipeline.media.",),
    "m3u8": ("pipeline.cameras.pulling.connector.playlists",),
}

# What serves a model has no use for what runs bulk jobs.
NOT_FOR_SERVE = (
    "pipeline.extract",
    "pipeline.training",
    "pipeline.lake.compaction",
    "pipeline.cli",
    "pipeline.__main__",
)

MOST_ENTRIES = 18
"""Of ``pipeline/`` itself: what one look takes in."""


def module_name(path: Path) -> str:
    """``pipeline/media/clock.py`` is ``pipeline.media.clock``; a package goes by its ``__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def modules(package: str) -> dict[str, Path]:
    return {module_name(path): path for path in sorted((ROOT / package).rglob("*.py"))}


PIPELINE = modules("pipeline")
SERVE = modules("serve")


@cache
def imported_names(path: Path) -> tuple[str, ...]:
    """Every dotted name that a file imports, inside functions too; ``from a import b`` is ``a.b``."""
    return tuple(_imported_names(path))


def _imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def backward_imports(name: str, path: Path, order: tuple[str, ...]) -> list[str]:
    """What a module imports from rooms that stand below its own in ``order``."""
    package, room = name.split(".")[:2]
    backward = []
    for target in imported_names(path):
        parts = target.split(".")
        is_ours = parts[0] == package and len(parts) > 1 and parts[1] in order
        if is_ours and order.index(parts[1]) > order.index(room):
            backward.append(target)
    return backward


def rooms(package: str) -> set[str]:
    """The folders and modules at the top of a package, its charter aside."""
    return {name.split(".")[1] for name in modules(package)} - {"__init__"}


def test_every_room_has_a_place() -> None:
    assert rooms("pipeline") == set(WINGS)
    assert rooms("serve") == set(SERVE_ROOMS)


def test_the_house_is_taken_in_at_one_look() -> None:
    entries = [path for path in (ROOT / "pipeline").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize(("paths", "order"), [(PIPELINE, WINGS), (SERVE, SERVE_ROOMS)], ids=["pipeline", "serve"])
def test_imports_point_upwards(paths: dict[str, Path], order: tuple[str, ...]) -> None:
    inside = [name for name in paths if name.count(".") > 1 or "__init__" not in name]
    backward = {name: backward_imports(name, paths[name], order) for name in inside}

    assert {name: targets for name, targets in backward.items() if targets} == {}, f"the order is {order}"


def test_the_server_is_no_higher_than_seven_rooms() -> None:
    below = {
        room: {parts[1] for target in imports_of(SERVE, room) if (parts := target.split("."))[0] == "serve"} - {room}
        for room in SERVE_ROOMS
    }

    def height(room: str) -> int:
        return 1 + max((height(other) for other in below[room] & set(SERVE_ROOMS)), default=0)

    assert max(map(height, SERVE_ROOMS)) <= MOST_LAYERS


def imports_of(package: dict[str, Path], room: str) -> Iterator[str]:
    """What the modules of a room import."""
    for name, path in package.items():
        if name.split(".")[1] == room:
            yield from imported_names(path)


@pytest.mark.parametrize(
    "folder", [path.parent for path in (*PIPELINE.values(), *SERVE.values()) if path.stem == "__init__"]
)
def test_a_folder_has_a_charter_and_more_than_one_file(folder: Path) -> None:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    charter = ast.get_docstring(tree)

    assert charter is not None
    assert len([path for path in folder.iterdir() if path.name != "__pycache__"]) > 2


def test_no_circle_of_imports() -> None:
    """Whatever the room: a circle works or not by who comes first."""
    paths = {**PIPELINE, **SERVE}
    arrows = {
        name: {module_of(target, paths) for target in imported_names(path)} - {None, name}
        for name, path in paths.items()
    }
    while leaves := {name for name, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}

    assert not arrows, f"circles among {sorted(arrows)}"


def module_of(target: str, paths: dict[str, Path]) -> str | None:
    """The module of ours that a dotted name is in, or is."""
    return target if target in paths else target.rpartition(".")[0] if target.rpartition(".")[0] in paths else None


def test_the_package_itself_imports_nothing_but_what_reads_a_lake() -> None:
    assert {target.rpartition(".")[0] for target in imported_names(PIPELINE["pipeline.__init__"])} == {
        "collections.abc",
        "pipeline.explore.reader",
    }


def test_the_batch_side_knows_nothing_of_the_server() -> None:
    wrong = {
        name: [target for target in imported_names(path) if is_within(target, "serve")]
        for name, path in PIPELINE.items()
    }

    assert {name: targets for name, targets in wrong.items() if targets} == {}


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


def test_a_dataset_does_not_know_what_it_lies_in() -> None:
    """The rooms of the lake ask a backend; what a bucket is, only publishing knows."""
    knowing = [
        name
        for name, path in PIPELINE.items()
        if name.startswith("pipeline.lake.")
        and not name.startswith("pipeline.lake.publishing.")
        and any(is_within(target, "pipeline.storage.buckets") for target in imported_names(path))
    ]

    assert knowing == []


def test_nobody_imports_serve_from_ray() -> None:
    """It would hide our own package ``serve``; ``import ray.serve`` does not."""
    ours = [
        path for folder in ("pipeline", "serve", "tests", "demo", "benchmarks") for path in modules(folder).values()
    ]

    assert [str(path) for path in ours if imports_serve_from_ray(path)] == []


def test_parts_of_ray_that_are_not_public_stand_in_one_list() -> None:
    ours = {**PIPELINE, **SERVE}
    users = {name for name, path in ours.items() if any(is_private_of_ray(target) for target in imported_names(path))}

    assert users == {"pipeline.cluster.ray_internals"}


def is_private_of_ray(target: str) -> bool:
    first, *rest = target.split(".")
    return first == "ray" and any(part.startswith("_") for part in rest)


def imports_serve_from_ray(path: Path) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and node.module == "ray" and any(alias.name == "serve" for alias in node.names)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    )


def test_a_backward_arrow_is_found(tmp_path: Path) -> None:
    backward = tmp_path / "schemas.py"
    backward.write_text("def late():\n    from pipeline.extract import run\n    import pipeline.media.probe\n")
    upward = tmp_path / "run.py"
    upward.write_text("from pipeline.records.segments import Segment\nfrom pipeline.stages import plan\n")

    assert backward_imports("pipeline.records.schemas", backward, WINGS) == [
        "pipeline.extract.run",
        "pipeline.media.probe",
    ]
    assert backward_imports("pipeline.extract.run", upward, WINGS) == []
