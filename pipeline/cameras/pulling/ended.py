"""Why a connection is over; apart from the rest, for the connector needs no arrays."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class EndReason(StrEnum):
    """Why a connection is over."""

    ENDED = "ended"
    """All was played: of a file, or of a playlist that has an end."""
    CLOSED = "closed"
    """The other side hung up."""
    UNREACHABLE = "unreachable"
    """No connection, or an answer that says no: the detail says which."""
    UNAUTHORIZED = "unauthorized"
    """It wants other credentials."""
    REFUSED = "refused"
    """It leads to an address that is not allowed; nothing was sent there."""
    UNREADABLE = "unreadable"
    """What it sends is no video that can be decoded."""
    CRASHED = "crashed"
    """The decoder died of what it was given."""
    KILLED = "killed"
    """Somebody killed one of the puller's processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Nothing more comes. Neither text holds credentials or a query."""

    reason: EndReason
    detail: str


class SourceFailed(Exception):
    """The source cannot be pulled, as the connector finds."""

    def __init__(self, reason: EndReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The same on its way to the connector's parent."""

    reason: EndReason
    detail: str


FAILURE_ENCODER = msgspec.json.Encoder()
FAILURES = msgspec.json.Decoder(Failure)
