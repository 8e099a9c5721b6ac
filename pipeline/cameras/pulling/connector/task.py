"""What the connector is asked to do, and how it says that it failed."""

import msgspec

from pipeline.cameras.pulling.ended import EndReason
from pipeline.cameras.pulling.source import AllowedSources, Origin


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials, on their way through a socket to the process that uses them."""

    user: str
    password: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One source to connect to."""

    origin: Origin
    target: str
    login: Login | None
    patterns: frozenset[tuple[str, str, int | None]]
    relay_tokens: tuple[str, str]
    """That no other process of this machine knows: in the paths by which the decoder asks the relay."""

    @property
    def allowed(self) -> AllowedSources:
        """What may be reached."""
        return AllowedSources(patterns=self.patterns)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why the connector gave up; without credentials or queries."""

    reason: EndReason
    detail: str


class SourceFailed(Exception):
    """The source cannot be pulled."""

    def __init__(self, reason: EndReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


ENCODER = msgspec.json.Encoder()
TASKS = msgspec.json.Decoder(Task)
FAILURES = msgspec.json.Decoder(Failure)
