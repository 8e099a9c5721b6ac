"""What the connector is asked to do."""

from typing import Self

import msgspec

from pipeline.cameras.pulling.source import AllowedSources, Origin, Source


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

    @classmethod
    def of(cls, source: Source, origin: Origin, *, relay_tokens: tuple[str, str]) -> Self:
        """To pull a source that is no file."""
        given = source.credentials
        return cls(
            origin=origin,
            target=source.target,
            login=None if given is None else Login(user=given.user, password=given.password),
            patterns=source.allowed.patterns,
            relay_tokens=relay_tokens,
        )

    @property
    def allowed(self) -> AllowedSources:
        """What may be reached."""
        return AllowedSources(patterns=self.patterns)


TASK_ENCODER = msgspec.json.Encoder()
TASKS = msgspec.json.Decoder(Task)
