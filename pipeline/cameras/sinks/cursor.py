"""What a receiver of events has acknowledged, remembered in the lake: a restart goes on from there."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.live import readers
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.documents import document_of, part, text
from pipeline.records.event_ids import first_name_at, microseconds_of
from pipeline.records.events import Event
from pipeline.storage.addresses import canonical_uri

_FOLDER = "_vidlake/webhooks"
_CLOCKS_DIFFER = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class Cursor:
    """How far a receiver is. It belongs to an address without its secrets, so that a new signature goes on with it."""

    url: str
    """Canonical."""
    since: datetime
    """When the receiver was first named: what happened earlier is not sent."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The ``event_id`` of the last acknowledged event of each stream."""

    @property
    def name(self) -> str:
        """Of its file in the lake."""
        return name_of(self.url)

    @classmethod
    def load(cls, lake: str, url: str, *, now: datetime) -> Self:
        """The cursor of an address, or a new one that begins now and is there when this returns.

        Raises:
            UsageError: its file is damaged.
            StorageError: the store failed.
        """
        canonical = canonical_uri(url)
        store, name = Dataset.at(lake).store, name_of(canonical)
        try:
            document = document_of(json.loads(store.read(name)), name="the cursor")
            acknowledged = part(document, "acknowledged")
            return cls(
                url=canonical,
                since=datetime.fromisoformat(text(document, "since")),
                acknowledged={stream: text(acknowledged, stream) for stream in acknowledged},
            )
        except MissingFile:
            cursor = cls(url=canonical, since=now)
            cursor.save(lake)
            return cursor
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{store.uri}/{name} is damaged ({error}): remove it, and events are sent anew") from None

    def is_behind(self, event: Event) -> bool:
        """Whether the event is still to be sent."""
        last = self.acknowledged.get(event.stream)
        return event.captured_at >= self.since if last is None else event.event_id > last

    def nothing_before(self) -> str:
        """A name of an event before which nothing is to be sent.

        Events are sent in order, so the last one that was taken tells how far all streams are, but for their clocks.
        """
        last_us = max(map(microseconds_of, self.acknowledged.values()), default=0)
        last = datetime.fromtimestamp(last_us / 10**6, UTC) if last_us else self.since
        return first_name_at(last - _CLOCKS_DIFFER)

    def acknowledge(self, event: Event) -> None:
        """The receiver has taken it."""
        self.acknowledged[event.stream] = event.event_id

    def save(self, lake: str) -> None:
        """Write it to the lake. Raises ``StorageError``: the store failed."""
        document = {"url": self.url, "since": self.since.isoformat(), "acknowledged": self.acknowledged}
        Dataset.at(lake).store.publish(self.name, json.dumps(document).encode(), overwrite=True)


def name_of(url: str) -> str:
    """The file in the lake that holds the cursor of a canonical address."""
    return f"{_FOLDER}/{hashlib.sha256(url.encode()).hexdigest()[:24]}.json"


def stored_behind(cursor: Cursor, lake: str) -> Iterator[Event]:
    """The events in a lake that are still to be sent, by time; none where there is no lake yet.

    Raises:
        StorageError: the store failed.
    """
    if Dataset.at(lake).info() is None:
        return
    for event in readers.events(lake, after_event_id=cursor.nothing_before()):
        if cursor.is_behind(event):
            yield event
