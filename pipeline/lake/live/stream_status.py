"""What ``status`` says of streams, mostly by the footers of ``features``, which it reads anyway."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Self, get_args

import pyarrow.compute as pc

from pipeline.lake.appended_file import Footer, foreign_file
from pipeline.lake.live.batches import SessionStatus
from pipeline.lake.live.entries import EntryHeader
from pipeline.lake.live.gap_slots import FilledSlots
from pipeline.lake.live.names import Span, filled_session, parsed_live
from pipeline.lake.live.view import LiveLake
from pipeline.records.documents import Document, part, text, texts, whole
from pipeline.records.stream_rows import GAPS, STREAM_TABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """What a lake holds of a stream."""

    name: str
    sessions: dict[str, int]
    """How many are ``live``, ``ok`` and ``partial``."""
    num_samples: int
    captured_from: datetime
    captured_to: datetime
    missing_slots: dict[str, int]
    """Slots in gaps that are not filled, by the reasons of these."""
    num_filled: int

    def to_json(self) -> Document:
        """Plain values."""
        moments = {name: getattr(self, name).isoformat() for name in ("captured_from", "captured_to")}
        return {**asdict(self), **moments}


class StreamTally:
    """Counts what streams have published, as footers of features files come by.

    Attributes:
        num_rows: of the tables of streams, in the files that are named as those of features are.
        num_files: of streams.
    """

    def __init__(self) -> None:
        self.num_rows: Counter[str] = Counter()
        self.num_files = 0
        self._spans: list[Span] = []
        self._missing: dict[str, Counter[str]] = {}
        self._sessions: set[str] = set()
        self._filled: list[FilledSlots] = []

    def counting(self, footers: Iterable[tuple[str, Footer]]) -> Iterator[Footer]:
        """The footers, once they are counted.

        Raises:
            ForeignFile: one is damaged.
        """
        for name, footer in footers:
            if footer.live_json is not None:
                try:
                    self._add(name, parsed_live(footer.live_json, uri=footer.uri))
                except (KeyError, TypeError):
                    raise foreign_file(footer.uri, "its footer is damaged") from None
            yield footer

    def statuses(self, lake: LiveLake) -> tuple[StreamStatus, ...]:
        """What there is of each stream, once all footers have come by."""
        missing = {stream: Counter(slots) for stream, slots in self._missing.items()}
        filled: Counter[str] = Counter()
        for each in self._filled:
            filled[each.stream] += len(each.slots)
            if each.video_id in self._sessions:
                missing[each.stream][each.reason] -= len(each.slots)
        for header in self._alone(lake):
            missing.setdefault(header.key.stream, Counter()).update(header.missing_slots)
        # Files of other names are those of a lake that was compacted: few.
        others = [name for name in lake.files.tables(GAPS.name) if Span.of_name(name) is None]
        for rows in lake.read(others, ["stream", "reason", "num_slots", "filled"]):
            left = rows.filter(pc.invert(rows["filled"]))
            for stream, reason, num_slots in zip(*(left[name].to_pylist() for name in _COUNTED), strict=True):
                missing.setdefault(stream, Counter())[reason] += num_slots
        return tuple(_statuses(lake, missing, filled))

    def with_journal(self, lake: LiveLake) -> Self:
        """The same, once also the rows are counted that stand in the journal alone."""
        for header in self._alone(lake):
            self.num_rows.update({table.name: header.num_rows[table.name] for table in STREAM_TABLES})
        return self

    def _alone(self, lake: LiveLake) -> list[EntryHeader]:
        """What the journal told of, when it was read, that no footer has told of since."""
        spans = [span for span in self._spans if span.writer in {header.key.writer for header in lake.headers}]
        return [header for header in lake.headers if not any(header.key in span for span in spans)]

    def _add(self, name: str, document: Document) -> None:
        self.num_files += 1
        if filled_session(name) is not None:
            self._filled.append(FilledSlots.from_json(document))
            return
        self._spans.append(Span.from_json(document))
        missing, num_rows = part(document, "missing_slots"), part(document, "num_rows")
        self._missing.setdefault(text(document, "stream"), Counter()).update(
            {reason: whole(missing, reason) for reason in missing}
        )
        self.num_rows.update({table: whole(num_rows, table) for table in num_rows})
        self._sessions.update(texts(document, "sessions"))


_COUNTED = ("stream", "reason", "num_slots")


def _statuses(lake: LiveLake, missing: dict[str, Counter[str]], filled: Counter[str]) -> Iterator[StreamStatus]:
    rows = list(lake.sessions.values())
    for stream in sorted({row.session.stream for row in rows}):
        own = [row for row in rows if row.session.stream == stream]
        sessions = dict.fromkeys(get_args(SessionStatus), 0)
        for row in own:
            sessions[row.status] += 1
        yield StreamStatus(
            name=stream,
            sessions=sessions,
            num_samples=sum(row.num_samples for row in own),
            captured_from=min(row.session.started_at for row in own),
            captured_to=max(row.captured_to for row in own),
            missing_slots={reason: slots for reason, slots in sorted(missing.get(stream, {}).items()) if slots > 0},
            num_filled=filled[stream],
        )
