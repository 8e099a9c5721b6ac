"""Labels as people gave them: a row of a label file, or of the ``videos`` table of a lake, says one of them."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

from pipeline.errors import UsageError
from pipeline.inputs.row_files import RANGE_COLUMNS, RowFile, format_of
from pipeline.records.documents import Document
from pipeline.records.periods import ALWAYS, Period, moment_of
from pipeline.training.examples import PARTS
from pipeline.training.request import LabelOptions

_FORMATS = ("csv", "parquet")
_VIDEO_COLUMNS = ("uri", "video_id", "stream")
_CAPTURED_COLUMNS = ("captured_from", "captured_to")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One label, of a video or of [``start_s``, ``end_s``) of it on the axis of ``time_s``.

    Or of a stream's sessions, or of what was ``captured`` between two moments.
    """

    row: int
    """Its number in the file, from 1 on."""
    video: str
    """An id or, where ``is_id`` is false, a uri, a file's name or a glob; empty: all sessions of the stream."""
    is_id: bool
    start_s: float
    end_s: float
    label: str
    part: str | None
    """Of ``PARTS``; ``None``: there is no column ``split``."""
    group: str | None
    """Of the column that groups; ``None``: there is no such column, or no value in it."""
    stream: str | None = None
    """``None``: it may be of any stream, or of none."""
    captured: Period = ALWAYS

    @property
    def shown(self) -> str:
        """What it is of, for messages."""
        return self.video or f"stream {self.stream}"

    @property
    def values(self) -> tuple[object, ...]:
        """What it says, which is what a digest of labels is made of."""
        said = (self.video, self.is_id, self.start_s, self.end_s, self.label, self.part, self.group)
        is_live = self.stream is not None or not self.captured.is_open
        return (*said, self.stream, self.captured.begin_s, self.captured.end_s) if is_live else said


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRows:
    """All labels that a head is to be trained or measured with."""

    source: str
    """What they are from, for messages."""
    rows: tuple[LabelRow, ...]

    @property
    def has_parts(self) -> bool:
        """Whether the rows say themselves which part each is for."""
        return bool(self.rows) and self.rows[0].part is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that there are, sorted."""
        return tuple(sorted({row.label for row in self.rows}))

    @property
    def digest(self) -> str:
        """Over what the rows say; the same whatever the file is called."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(json.dumps(row.values).encode() + b"\n")
        return f"sha256:{digest.hexdigest()}"


def read_label_file(locator: str, options: LabelOptions) -> LabelRows:
    """The rows of a label file.

    Raises:
        UsageError: it cannot be read, lacks a column, or holds a bad value: file, row and column are named.
        StorageError: the store failed, after retries.
    """
    if format_of(locator) not in _FORMATS:
        raise UsageError(f"--labels {locator}: a label file is a .csv or a .parquet")
    group = [options.group] if options.group else []
    texts = {*_VIDEO_COLUMNS, *_CAPTURED_COLUMNS, *RANGE_COLUMNS, options.column, "split", *group}
    file = RowFile(locator, what="label file", texts=texts)
    names: list[str] = file.schema.names
    if not set(_VIDEO_COLUMNS) & set(names):
        file.refuse(f"it has neither a column uri nor video_id nor stream; its columns: {', '.join(names)}")
    for name, word in ((options.column, "--label"), *([(options.group, "--group")] if options.group else [])):
        if name not in names:
            file.refuse(f"it has no column {name}, which {word} names; its columns: {', '.join(names)}")
    file.check_ranges()
    rows = tuple(_rows(file, [name for name in names if name in texts], options))
    if not rows:
        file.refuse("it has no rows")
    return LabelRows(source=f"label file {file.uri}", rows=rows)


def labels_of_videos(videos: Iterable[Document], options: LabelOptions, *, columns: list[str], uri: str) -> LabelRows:
    """The labels that the manifest of a lake carried: rows of its ``videos`` table; those without a label say nothing.

    Args:
        videos: with ``video_id`` and the columns that the options name, and ``split`` if there is such a column.
        options: which column is meant.
        columns: that ``videos`` has.
        uri: of the lake.

    Raises:
        UsageError: there is no such column, no label, or a bad value.
    """
    source = f"videos of {uri}"
    for name, word in ((options.column, "--label"), *([(options.group, "--group")] if options.group else [])):
        if name not in columns:
            raise UsageError(
                f"the {source} have no column {name}, which {word} names: give --labels FILE, or a column that its "
                f"manifest had"
            )

    def refuse(detail: str) -> NoReturn:
        raise UsageError(f"{source}: {detail}")

    rows: list[LabelRow] = []
    for video in videos:
        label = _text(video.get(options.column))
        if label is None:
            continue
        video_id = str(video["video_id"])
        part = _part(video["split"], where=f"video {video_id}", refuse=refuse) if "split" in columns else None
        group = None if options.group is None else _text(video.get(options.group))
        rows.append(
            LabelRow(
                row=len(rows) + 1,
                video=video_id,
                is_id=True,
                start_s=0.0,
                end_s=math.inf,
                label=label,
                part=part,
                group=group,
            )
        )
    if not rows:
        refuse(f"column {options.column} holds no label")
    return LabelRows(source=source, rows=tuple(rows))


def _rows(file: RowFile, columns: list[str], options: LabelOptions) -> Iterator[LabelRow]:
    has_parts = "split" in columns
    for row, values in enumerate(file.rows(columns), 1):
        start_s, end_s = file.range_of(values, row=row)
        video_id, uri, stream = (_text(values.get(name)) for name in ("video_id", "uri", "stream"))
        label = _text(values[options.column])
        if video_id is None and uri is None and stream is None:
            file.refuse(f"row {row}: no {' and no '.join(name for name in _VIDEO_COLUMNS if name in columns)}")
        if label is None:
            file.refuse(f"row {row}: column {options.column}: no label")
        yield LabelRow(
            row=row,
            video=video_id or uri or "",
            is_id=video_id is not None,
            start_s=0.0 if start_s is None else float(start_s),
            end_s=math.inf if end_s is None else float(end_s),
            label=label,
            part=_part(values["split"], where=f"row {row}", refuse=file.refuse) if has_parts else None,
            group=None if options.group is None else _text(values[options.group]),
            stream=stream,
            captured=_captured(file, values, row=row),
        )


def _captured(file: RowFile, values: Document, *, row: int) -> Period:
    """When what a row labels was captured."""
    bounds = {"begin_s": -math.inf, "end_s": math.inf}
    for name, bound in zip(_CAPTURED_COLUMNS, bounds, strict=True):
        value = values.get(name)
        try:
            if isinstance(value, datetime):
                bounds[bound] = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
            elif (text := _text(value)) is not None:
                bounds[bound] = moment_of(text)
        except (ValueError, OverflowError):
            file.refuse(f"row {row}: {name} {str(value)[:60]!r} is no time, such as 2026-11-26T08:30:00Z")
    if bounds["begin_s"] >= bounds["end_s"]:
        file.refuse(f"row {row}: captured_to must be later than captured_from")
    return Period(**bounds)


def _part(value: object, *, where: str, refuse: Callable[[str], NoReturn]) -> str:
    part = _text(value)
    if part not in PARTS:
        refuse(f"{where}: column split: {'no part' if part is None else repr(part)}: use {', '.join(PARTS)}")
    return part


def _text(value: object) -> str | None:
    """A value as text; ``None``: there is none."""
    text = "" if value is None else str(value).strip()
    return text or None
