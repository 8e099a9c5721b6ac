"""What a bare install lacks is said in one line, with the extra that brings it."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.records.extras import Extra, require_extra

EXTRAS: tuple[Extra, ...] = ("cameras", "search", "shots", "train")


@pytest.mark.parametrize("extra", EXTRAS)
def test_missing_library_is_told_with_its_extra(extra: Extra, monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra(extra, command="x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"^x needs .*, which is not installed: pip install 'vidlake\[{extra}\]'$"):
        require_extra(extra, command="x")


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_brings_the_library_that_is_asked_for(extra: Extra, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    brought = {requirement.partition(">")[0] for requirement in project["optional-dependencies"][extra]}
    asked: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", asked.append)
    with pytest.raises(UsageError) as refused:
        require_extra(extra, command="x")
    assert str(refused.value).split()[2].rstrip(",") in brought
