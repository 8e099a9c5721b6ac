"""The side tables of a dataset: each is declared in a file of its own, so that ``status`` and ``compact`` know it.

The declaration lies in the dataset: a program that has never heard of a table shows it and takes it along all the same.
"""

import json
from dataclasses import dataclass
from typing import Self

from pipeline.errors import UsageError
from pipeline.lake.files import DatasetFiles, ForeignFile
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.documents import Document, document_of, text
from pipeline.records.tables import GROWTHS, METADATA_KEY, OWN_TABLES, Growth, Table, is_table_name

_FOLDER = "_vidlake/tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a dataset says of one of its side tables."""

    name: str
    key: tuple[str, ...]
    growth: Growth
    made_by: Document
    """How its rows are made, such as by which head."""

    @classmethod
    def of(cls, table: Table) -> Self:
        """That of a table."""
        made_by = document_of(json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}")), name="metadata")
        return cls(name=table.name, key=table.key, growth=table.growth, made_by=made_by)

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is no such document.
        """
        name, growth, key = text(document, "name"), text(document, "growth"), document["key"]
        if not is_table_name(name) or name in OWN_TABLES or growth not in GROWTHS or not isinstance(key, list):
            raise ValueError(f"{name!r} with {growth!r} and {key!r} is no side table")
        made_by = document_of(document["made_by"], name="made_by")
        return cls(name=name, key=tuple(map(str, key)), growth=GROWTHS[GROWTHS.index(growth)], made_by=made_by)

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        return {"name": self.name, "key": list(self.key), "growth": self.growth, "made_by": self.made_by}


def declare(files: DatasetFiles, table: Table, *, token: str) -> None:
    """Declare a table, unless every dataset has it. Raises as ``declare_as`` does."""
    if table.name not in OWN_TABLES:
        declare_as(files, Declaration.of(table), token=token)


def declare_as(files: DatasetFiles, mine: Declaration, *, token: str) -> None:
    """Write the declaration of a side table, where there is none yet.

    Raises:
        UsageError: the dataset has a table of this name that was made in another way.
        LeaseLost: another run has taken over.
    """
    name = f"{_FOLDER}/{mine.name}.json"
    if files.fence(token).replace(name, json.dumps(mine.to_json(), indent=2).encode(), version=None):
        return
    _compare(files, mine, _read(files, name))


def check_declared(files: DatasetFiles, table: Table) -> None:
    """Make sure that a table, if the dataset has it, was made in this way.

    Raises:
        UsageError: it was not.
        ForeignFile: a declaration is damaged.
    """
    mine = Declaration.of(table)
    for theirs in declared(files):
        if theirs.name == mine.name:
            _compare(files, mine, theirs)


def _compare(files: DatasetFiles, mine: Declaration, theirs: Declaration) -> None:
    if theirs != mine:
        differing = [what for what in ("key", "growth", "made_by") if getattr(theirs, what) != getattr(mine, what)]
        raise UsageError(
            f"{files.uri(mine.name)} was made with other settings ({', '.join(differing)}): give another --out"
        )


def declared(files: DatasetFiles) -> list[Declaration]:
    """The side tables of a dataset.

    Raises:
        ForeignFile: a declaration is damaged.
    """
    return [_read(files, name) for name in files.store.list(_FOLDER) if name.endswith(".json")]


def declaration_of(files: DatasetFiles, name: str) -> Declaration | None:
    """That of a table; ``None``: the dataset has no such side table. Raises as ``declared`` does."""
    try:
        return _read(files, f"{_FOLDER}/{name}.json")
    except MissingFile:
        return None


def _read(files: DatasetFiles, name: str) -> Declaration:
    try:
        return Declaration.from_json(document_of(json.loads(files.store.read(name)), name="the declaration"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ForeignFile(f"{files.uri(name)} is damaged ({error}): restore it, or remove it with its table") from None
