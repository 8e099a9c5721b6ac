"""JSON documents, and rows of Arrow tables as Python has them: every value is read with the type that it must have."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Document = Mapping[str, object]
"""A JSON object, or a row of a table by its columns."""

Value = TypeVar("Value", bool, str)


def text(document: Document, name: str) -> str:
    """A string. Raises as all of these do: ``KeyError`` where it is missing, ``TypeError`` where it is another type."""
    return _checked(document[name], str, name=name)


def text_or_none(document: Document, name: str) -> str | None:
    """A string, or null."""
    return None if document[name] is None else text(document, name)


def texts(document: Document, name: str) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(_checked(value, str, name=name) for value in _listed(document[name], name=name))


def flag(document: Document, name: str) -> bool:
    """True or false."""
    return _checked(document[name], bool, name=name)


def whole(document: Document, name: str) -> int:
    """An integer."""
    return _whole(document[name], name=name)


def whole_or_none(document: Document, name: str) -> int | None:
    """An integer, or null."""
    return None if document[name] is None else whole(document, name)


def wholes(document: Document, name: str) -> tuple[int, ...]:
    """A list of integers."""
    return tuple(_whole(value, name=name) for value in _listed(document[name], name=name))


def number(document: Document, name: str) -> float:
    """A number; an integer stays one, so that what is written again is what was read."""
    return _number(document[name], name=name)


def number_or_none(document: Document, name: str) -> float | None:
    """A number, or null."""
    return None if document[name] is None else number(document, name)


def numbers(document: Document, name: str) -> tuple[float, ...]:
    """A list of numbers."""
    return tuple(_number(value, name=name) for value in _listed(document[name], name=name))


def part(document: Document, name: str) -> Document:
    """A document within the document."""
    return document_of(document[name], name=name)


def parts(document: Document, name: str) -> list[Document]:
    """A list of documents."""
    return [document_of(value, name=name) for value in _listed(document[name], name=name)]


def document_of(value: object, *, name: str) -> Document:
    """A value that must be a document."""
    if not isinstance(value, Mapping):
        raise _other(value, "an object", name=name)
    return value


def only(document: Document, names: Iterable[str], *, what: str) -> None:
    """Make sure that a document says nothing that would be passed over.

    Raises:
        ValueError: it has a key that is not among ``names``.
    """
    further = sorted(document.keys() - set(names))
    if further:
        raise ValueError(f"{what} has further keys: {', '.join(further)[:200]}")


def _checked(value: object, kind: type[Value], *, name: str) -> Value:
    if not isinstance(value, kind):
        raise _other(value, "true or false" if kind is bool else "text", name=name)
    return value


def _whole(value: object, *, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _other(value, "an integer", name=name)
    return value


def _number(value: object, *, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _other(value, "a number", name=name)
    return value


def _listed(value: object, *, name: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise _other(value, "a list", name=name)
    return value


def _other(value: object, kind: str, *, name: str) -> TypeError:
    return TypeError(f"{name} is {str(value)[:60]!r}, not {kind}")
