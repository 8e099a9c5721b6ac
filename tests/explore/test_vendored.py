"""What others wrote and we hand on: each file is the published one, byte for byte, with its licence beside it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "pipeline/explore/plotting/vendor", ROOT / "serve/console/vendor"]
RECORD = "vendored.json"
LICENCES = {"MIT": "Permission is hereby granted, free of charge", "Apache-2.0": "Apache License"}


def libraries() -> list[Any]:
    return [
        pytest.param(folder, library, id=library["name"])
        for folder in FOLDERS
        for library in json.loads((folder / RECORD).read_text())
    ]


@pytest.mark.parametrize(("folder", "library"), libraries())
def test_each_file_is_the_one_that_was_published(folder: Path, library: dict[str, Any]) -> None:
    assert library["files"]
    for name, told in library["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == told["sha256"], name


@pytest.mark.parametrize(("folder", "library"), libraries())
def test_its_licence_comes_along(folder: Path, library: dict[str, Any]) -> None:
    licence = f"{library['name']}.LICENSE"
    [name] = [name for name in library["files"] if name.lower() == licence.lower()]
    assert LICENCES[library["license"]] in (folder / name).read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_nothing_else_lies_among_them(folder: Path) -> None:
    told = {name for library in json.loads((folder / RECORD).read_text()) for name in library["files"]}
    assert {path.name for path in folder.iterdir()} == {RECORD, *told}
