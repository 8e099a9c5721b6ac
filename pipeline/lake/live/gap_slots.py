"""The slots of a gap, and what of it is left once some are filled."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby
from typing import Self

import pyarrow as pa

from pipeline.lake.appended_file import file_metadata, foreign_file
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.batches import StoredGap
from pipeline.lake.live.names import filled_session, live_document
from pipeline.records.documents import Document, text, wholes
from pipeline.records.streams import FILLABLE, Gap, GapReason
from pipeline.records.tables import FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledSlots:
    """What the footer of a file with filled slots says: whose they are, and which."""

    stream: str
    video_id: str
    reason: str
    """Of the gap that they were in."""
    slots: tuple[int, ...]

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        return {"stream": self.stream, "filled": self.video_id, "reason": self.reason, "slots": list(self.slots)}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``. Raises ``KeyError`` or ``TypeError``: it is no such document."""
        return cls(
            stream=text(document, "stream"),
            video_id=text(document, "filled"),
            reason=text(document, "reason"),
            slots=wholes(document, "slots"),
        )


def filled_slots(files: DatasetFiles, *, video_ids: Collection[str] | None = None) -> dict[str, set[int]]:
    """Which slots of sessions are filled, by the footers of the files that hold them.

    Args:
        files: of the lake.
        video_ids: of these sessions alone.

    Raises:
        ForeignFile: a file is damaged.
        StorageError: the store failed.
    """
    names = [
        name
        for name in files.tables(FEATURES)
        if (video_id := filled_session(name)) is not None and (video_ids is None or video_id in video_ids)
    ]
    filled: dict[str, set[int]] = {}
    for _, found in files.read_each(names, _read):
        if found is not None:
            filled.setdefault(found.video_id, set()).update(found.slots)
    return filled


def gap_between_sessions(
    *,
    video_id: str | None,
    uri: str,
    stream: str,
    reason: GapReason,
    captured_from: datetime,
    captured_to: datetime,
    rate_hz: Fraction,
) -> Gap | None:
    """The slots for which nobody was connected, or the camera sent nothing; ``None``: there is room for none.

    Args:
        video_id: the session before; ``None`` before the first one.
        uri: of the source, without user info and query.
        stream: its name.
        reason: ``disconnected`` or ``stalled``.
        captured_from: where the last slot ended.
        captured_to: where the next session's first slot begins.
        rate_hz: of the sampling rule.
    """
    num_slots = math.floor((captured_to - captured_from) // timedelta(microseconds=1) * rate_hz / 1_000_000)
    if num_slots < 1:
        return None
    return Gap(
        video_id=video_id,
        uri=uri,
        stream=stream,
        reason=reason,
        num_slots=num_slots,
        start_pts=None,
        end_pts=None,
        start_s=None,
        end_s=None,
        captured_from=captured_from,
        captured_to=captured_to,
    )


def slots_of(gap: Gap, *, rate_hz: Fraction) -> range:
    """The slots k of a gap inside a session; those of one between sessions have no number."""
    if gap.start_s is None:
        return range(0)
    first = round(Fraction(gap.start_s) * rate_hz)
    return range(first, first + gap.num_slots)


def moment_in(gap: Gap, slot: int, *, rate_hz: Fraction) -> datetime:
    """The wall clock of a slot's beginning, or of the gap's end."""
    share = (slot - slots_of(gap, rate_hz=rate_hz).start) / max(1, gap.num_slots)
    return gap.captured_from + (gap.captured_to - gap.captured_from) * share


def split(stored: StoredGap, filled: Collection[int], *, rate_hz: Fraction) -> Iterator[StoredGap]:
    """A gap as it is once these slots are filled, its pieces in their order."""
    slots = slots_of(stored.gap, rate_hz=rate_hz)
    if stored.is_filled or not any(slot in filled for slot in slots):
        yield stored
        return
    for is_filled, group in groupby(slots, key=lambda slot: slot in filled):
        run = list(group)
        yield StoredGap(gap=_piece(stored.gap, run[0], run[-1] + 1, rate_hz=rate_hz), is_filled=is_filled)


def split_all(
    gaps: Iterable[StoredGap], filled: Mapping[str, Collection[int]], *, rate_hz: Fraction
) -> Iterator[StoredGap]:
    """Gaps as they are once the slots of these sessions are filled."""
    for stored in gaps:
        own = filled.get(stored.gap.video_id or "", ())
        yield from split(stored, own, rate_hz=rate_hz) if own and stored.gap.reason in FILLABLE else (stored,)


def _piece(gap: Gap, first: int, end: int, *, rate_hz: Fraction) -> Gap:
    slots = slots_of(gap, rate_hz=rate_hz)

    def pts(slot: int) -> int | None:
        if gap.start_pts is None or gap.end_pts is None:
            return None
        return gap.start_pts + round(Fraction(gap.end_pts - gap.start_pts) * (slot - slots.start) / len(slots))

    return replace(
        gap,
        num_slots=end - first,
        start_pts=pts(first),
        end_pts=pts(end),
        start_s=float(first / rate_hz),
        end_s=float(end / rate_hz),
        captured_from=moment_in(gap, first, rate_hz=rate_hz),
        captured_to=moment_in(gap, end, rate_hz=rate_hz),
    )


def _read(file: pa.NativeFile, *, uri: str) -> FilledSlots | None:
    document = live_document(file_metadata(file, uri=uri), uri=uri)
    try:
        return None if document is None else FilledSlots.from_json(document)
    except (KeyError, TypeError):
        raise foreign_file(uri, "its footer is damaged") from None
