"""Addresses of sources: parsed strictly, held against what is allowed, and shown without what is secret."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import unquote

from pipeline.errors import UsageError

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Of the schemes that are pulled."""

_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?:(?P<user_info>[^/?#\s\\]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>\d{1,5}))?(?P<path>/[^?#\s\\]*)?(?P<query>\?[^#\s\\]*)?(?:#\S*)?",
    re.ASCII,
)
_PATTERN = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}|\*))?/?", re.ASCII
)
_FORMS = "rtsp://, rtsps://, http://, https:// (HLS, MPEG-TS, MJPEG) or file:PATH"


class SourceRefused(UsageError):
    """An address that nobody allowed, or of a kind that is not pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a source asks for. They are sent to its own scheme, host and port alone, and shown nowhere."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an address leads: scheme, host and port."""

    scheme: str
    host: str
    """A name or number in lower case; IPv6 without brackets."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in ("rtsps", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSources:
    """Which addresses may be reached: nothing, but for what was added.

    A pattern admits one scheme, host and port, as written: a name does not stand for its number, nor the reverse.
    """

    patterns: frozenset[tuple[str, str, int | None]] = frozenset()
    """Scheme, host, and port; ``None``: any port."""
    are_files_allowed: bool = False
    """Whether ``file:`` may be played: from the command line and the streams file alone."""

    @classmethod
    def parse(cls, patterns: Iterable[str], *, are_files_allowed: bool = False) -> Self:
        """Read patterns ``scheme://host:port``, where the port may be ``*``; without one it is the scheme's own.

        Raises:
            UsageError: one is no pattern.
        """
        return cls(patterns=frozenset(map(_parsed_pattern, patterns)), are_files_allowed=are_files_allowed)

    def with_own(self, source: str) -> Self:
        """These, and the scheme, host and port of a source that an operator named: on the command line, in a file.

        Raises:
            UsageError: it is no address.
        """
        if _is_file(source):
            return replace(self, are_files_allowed=True)
        origin, _, _ = parsed_address(source)
        return replace(self, patterns=self.patterns | {(origin.scheme, origin.host, origin.port)})

    def check(self, origin: Origin) -> None:
        """Make sure that an address may be reached.

        Raises:
            SourceRefused: it may not; the message names the option that would allow it.
        """
        if not {(origin.scheme, origin.host, origin.port), (origin.scheme, origin.host, None)} & self.patterns:
            raise SourceRefused(f"{origin} is not an allowed source: --allow-source {origin} would allow it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An address that may be pulled. Equal text gives equal sources; the secrets do not show in its ``repr``."""

    uri: str
    """What may be shown and stored: without user info, query and fragment; of a file, its absolute path."""
    origin: Origin | None
    """``None``: a file."""
    target: str = field(repr=False)
    """Path and query, as sent to the origin; of a file, its path."""
    credentials: Credentials | None
    allowed: AllowedSources
    """What the source may lead to: playlists, segments, keys, redirects."""

    @classmethod
    def parse(cls, text: str, *, allowed: AllowedSources, credentials: Credentials | None = None) -> Self:
        """Read an address and hold it against what is allowed.

        Args:
            text: the address.
            allowed: what may be reached; for a source that an operator named, ``allowed.with_own(text)``.
            credentials: what the source asks for; otherwise those in the address, if any.

        Raises:
            UsageError: it is no address.
            SourceRefused: it is not allowed, or of a kind that is not pulled.
        """
        if _is_file(text):
            if not allowed.are_files_allowed:
                raise SourceRefused("file: may be played from the command line and the streams file alone")
            path = _path_of(text)
            return cls(uri=path, origin=None, target=path, credentials=None, allowed=allowed)
        origin, target, own_credentials = parsed_address(text)
        allowed.check(origin)
        return cls(
            uri=shown(origin, target),
            origin=origin,
            target=target,
            credentials=credentials or own_credentials,
            allowed=allowed,
        )


def credentials_of(stream: str) -> Credentials | None:
    """What the variables ``VIDLAKE_STREAM_<NAME>_USER`` and ``_PASSWORD`` say for a stream; ``None``: nothing."""
    user, password = (os.environ.get(variable) for variable in variables_of(stream))
    return None if user is None and password is None else Credentials(user=user or "", password=password or "")


def variables_of(stream: str) -> tuple[str, str]:
    """The names of the variables that hold a stream's user and password."""
    prefix = f"VIDLAKE_STREAM_{re.sub(r'[^A-Z0-9]', '_', stream.upper())}"
    return f"{prefix}_USER", f"{prefix}_PASSWORD"


def has_password(text: str) -> bool:
    """Whether an address holds a password, which an argument of a command must not: everybody sees those."""
    match = _ADDRESS.fullmatch(text.strip())
    return match is not None and ":" in (match["user_info"] or "")


def parsed_address(text: str) -> tuple[Origin, str, Credentials | None]:
    """The origin of an address, its path with the query, and the credentials in it.

    Raises:
        UsageError: it is no address; the text is not repeated, for it may hold a password.
        SourceRefused: nothing of that scheme is pulled.
    """
    scheme = text.partition(":")[0].lower()
    if ":" in text and scheme not in DEFAULT_PORTS:
        kind = scheme if re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme, re.ASCII) else "this"
        raise SourceRefused(f"a source of the kind {kind!r} is not pulled: use {_FORMS}")
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or DEFAULT_PORTS[scheme]) if match else 0
    if match is None or not 0 < port < 65536:
        raise UsageError(f"bad source: use {_FORMS}")
    origin = Origin(scheme=scheme, host=_plain_host(match["host"]), port=port)
    target = (match["path"] or "/") + (match["query"] or "")
    user, has_words, password = (match["user_info"] or "").partition(":")
    credentials = Credentials(user=unquote(user), password=unquote(password)) if user or has_words else None
    return origin, target, credentials


def shown(origin: Origin, target: str) -> str:
    """An address as it may be shown: its query may hold a token."""
    port = "" if origin.port == DEFAULT_PORTS[origin.scheme] else f":{origin.port}"
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{origin.scheme}://{host}{port}{target.partition('?')[0]}"


def _parsed_pattern(text: str) -> tuple[str, str, int | None]:
    match = _PATTERN.fullmatch(text.strip())
    scheme = match["scheme"].lower() if match else ""
    port = (match["port"] if match else None) or str(DEFAULT_PORTS.get(scheme, 0))
    if match is None or scheme not in DEFAULT_PORTS or (port != "*" and not 0 < int(port) < 65536):
        raise UsageError(
            f"bad --allow-source {text!r}: use scheme://host:port with rtsp, rtsps, http or https; the port may be *"
        )
    return scheme, _plain_host(match["host"]), None if port == "*" else int(port)


def _plain_host(host: str) -> str:
    return host.strip("[]").lower().rstrip(".")


def _is_file(text: str) -> bool:
    return text.strip().lower().startswith("file:")


def _path_of(text: str) -> str:
    """The path in ``file:PATH`` or ``file:///PATH``, made absolute.

    Raises:
        UsageError: there is none.
    """
    path = text.strip()[len("file:") :]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        path = slash + unquote(rest) if host in ("", "localhost") else ""
    if not path or "\0" in path:
        raise UsageError("bad source: use file:PATH")
    return os.path.abspath(path)
