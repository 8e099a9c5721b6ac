"""Which videos each label is of: by id, by uri, by the name of the file alone, or by a glob."""

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.storage.addresses import Place, canonical_uri, place_of
from pipeline.training.labels.label_rows import LabelRow

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What came of looking for the videos of labels."""

    rows_of: dict[str, tuple[int, ...]]
    """The places of the label rows of each labelled video, by its id, in their order."""
    unmatched: tuple[int, ...]
    """The places of the rows that match nothing."""


def match_videos(
    rows: Sequence[LabelRow], videos: Iterable[tuple[str, str]], *, streams: Mapping[str, str] = MappingProxyType({})
) -> Matches:
    """Find the label rows of each of ``videos``, which are (id, uri).

    A row whose text is the very name of a file means that file, also where the text could be read as a glob. One that
    names a stream means its sessions, or those of them that the row also names.

    Args:
        rows: the labels.
        videos: all that there are.
        streams: of the videos that are sessions, by their ids.

    Raises:
        UsageError: a file's name fits two videos of different uris.
    """
    index = _Index(rows)
    exact: dict[str, tuple[int, ...]] = {}
    by_glob: dict[str, tuple[int, ...]] = {}
    for video_id, uri in videos:
        stream = streams.get(video_id)
        if found := index.of_stream(index.exact(video_id, uri), stream) + index.whole_stream(stream):
            exact[video_id] = found
        if found := index.of_stream(index.globbed(uri), stream):
            by_glob[video_id] = found
    named = {row for found in exact.values() for row in found}
    rows_of = {}
    for video_id in sorted(exact.keys() | by_glob.keys()):
        loose = [row for row in by_glob.get(video_id, ()) if row not in named]
        if every := tuple(sorted({*exact.get(video_id, ()), *loose})):
            rows_of[video_id] = every
    matched = {row for found in rows_of.values() for row in found}
    return Matches(rows_of=rows_of, unmatched=tuple(row for row in range(len(rows)) if row not in matched))


def file_name(uri: str) -> str:
    """The last part of a uri's path."""
    return posixpath.basename(urlsplit(uri).path if place_of(uri) is Place.WEB else uri)


class _Index:
    """Label rows by what they are looked up by."""

    def __init__(self, rows: Sequence[LabelRow]) -> None:
        self._rows = rows
        self._ids: dict[str, list[int]] = {}
        self._uris: dict[str, list[int]] = {}
        self._names: dict[str, list[int]] = {}
        self._globs: dict[str, list[int]] = {}
        self._streams: dict[str, list[int]] = {}
        self._uri_of_name: dict[str, str] = {}
        for at, row in enumerate(rows):
            self._add(at, row)
        self._patterns = [(_pattern(glob), "/" in glob, found) for glob, found in self._globs.items()]

    def exact(self, video_id: str, uri: str) -> tuple[int, ...]:
        """The rows that name this video itself."""
        name = file_name(uri)
        by_name = self._names.get(name, ())
        if by_name and self._uri_of_name.setdefault(name, uri) != uri:
            raise UsageError(
                f"{name} of row {self._rows[by_name[0]].row} of the labels fits both {self._uri_of_name[name]} and "
                f"{uri}: write the uri or the video_id"
            )
        return (*self._ids.get(video_id, ()), *self._uris.get(uri, ()), *by_name)

    def globbed(self, uri: str) -> tuple[int, ...]:
        """The rows whose glob fits this video."""
        name = file_name(uri)
        fitting = (
            found
            for pattern, is_of_path, found in self._patterns
            if pattern.fullmatch(uri) or (not is_of_path and pattern.fullmatch(name))
        )
        return tuple(row for found in fitting for row in found)

    def whole_stream(self, stream: str | None) -> tuple[int, ...]:
        """The rows that name a stream, and no video of it."""
        return () if stream is None else tuple(self._streams.get(stream, ()))

    def of_stream(self, found: tuple[int, ...], stream: str | None) -> tuple[int, ...]:
        """Those of some rows that name this stream, or none."""
        return tuple(at for at in found if self._rows[at].stream in (None, stream))

    def _add(self, at: int, row: LabelRow) -> None:
        if not row.video and row.stream is not None:
            self._streams.setdefault(row.stream, []).append(at)
            return
        if row.is_id:
            self._ids.setdefault(row.video, []).append(at)
            return
        if "/" in row.video:
            for uri in {row.video, _canonical(row.video)}:
                self._uris.setdefault(uri, []).append(at)
        else:
            self._names.setdefault(row.video, []).append(at)
        if _GLOB.search(row.video):
            self._globs.setdefault(row.video, []).append(at)


def _canonical(text: str) -> str:
    try:
        return canonical_uri(text)
    except UsageError:
        return text


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob of a whole uri, or where it does not begin like one, of the end of its path."""
    is_whole = glob.startswith("/") or "://" in glob
    translated = fnmatch.translate(glob)
    return re.compile(translated if is_whole or "/" not in glob else rf"(?:.*/)?{translated}", re.DOTALL)
