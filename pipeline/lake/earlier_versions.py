"""What earlier versions wrote, under today's names: the one place that knows the old ones.

Until 0.2 a footer said ``outcome`` (``ok`` where nothing was missing), ``attempt``, ``start_s`` and ``end_s``, and the
plan ``attempt`` and, in its segments, ``missing_from_s``. Before there were streams a manifest could have a column of
its own called ``stream``. Such files stay as they are; they are translated when read.
"""

import pyarrow as pa

from pipeline.records.documents import Document, parts
from pipeline.records.schemas import PLAN

_OLD_OK = "ok"
_OLD_ATTEMPT = "attempt"
_OF_MANIFEST = "{}_of_manifest"
"""What a manifest's own column is called that an earlier version allowed, and whose name is ours by now."""
_ONCE_ALLOWED = ("stream", "captured_from", "captured_to")


def settled_entries(document: object) -> list[Document]:
    """The entries of a footer, from whichever version it is.

    Raises:
        KeyError, TypeError: it is no list of entries.
    """
    entries = parts({"settled": document}, "settled")
    return [_settled_entry(entry) if "outcome" in entry else entry for entry in entries]


def _settled_entry(entry: Document) -> Document:
    reason = entry["outcome"]
    return {
        **entry,
        "reason": None if reason == _OLD_OK else reason,
        "attempts": entry["attempt"],
        "missing_start_s": entry["start_s"],
        "missing_end_s": entry["end_s"],
    }


def plan_names(schema: pa.Schema) -> dict[str, str]:
    """Today's name of each column of a file of the plan, and the one that it has in the file."""
    names = {name: name for name in schema.names}
    if _OLD_ATTEMPT in names:
        if "attempts" in names:
            names[_OF_MANIFEST.format("attempts")] = names.pop("attempts")
        names["attempts"] = names.pop(_OLD_ATTEMPT)
    return {_OF_MANIFEST.format(name) if name in _ONCE_ALLOWED else name: old for name, old in names.items()}


def plan_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a file of the plan, under today's names and types."""
    return pa.schema([_todays(schema.field(old), name=name) for name, old in plan_names(schema).items()])


def plan_table(part: pa.Table) -> pa.Table:
    """Rows of the plan, under today's names. Nothing is copied."""
    names = plan_names(part.schema)
    fields = [_todays(part.schema.field(old), name=name) for name, old in names.items()]
    columns = [
        part[old] if part[old].type == field.type else _viewed(part[old], field.type)
        for old, field in zip(names.values(), fields, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _todays(field: pa.Field, *, name: str) -> pa.Field:
    kind = PLAN.field("segments").type if name == "segments" else field.type
    return pa.field(name, kind)


def _viewed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.view(kind) for chunk in column.chunks], kind)
