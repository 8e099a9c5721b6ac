"""Who may send a request, decided before a body is read: API keys, ``Host`` and ``Origin``."""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from pipeline.errors import UsageError
from serve.problems import Forbidden, Unauthorized, UnsupportedType
from serve.settings import Access

KEYS_VARIABLE = "VIDLAKE_API_KEYS"
ADMIN_KEYS_VARIABLE = "VIDLAKE_ADMIN_KEYS"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
SUBPROTOCOL = "vidlake"
"""A browser's WebSocket may offer this beside its key, so that the answer does not repeat the key."""
_KEY_SUBPROTOCOL = "vidlake.key."
_NEEDS_NO_KEY = frozenset({"/healthz", "/readyz"})
_PAGE_FILES = "/console/"
_LEAST_KEY_LENGTH = 8
"""Keys are the operator's choice, as passwords are: this keeps out a stray word or half a line."""


class ApiKeys:
    """The known keys, kept as digests alone. An admin key is an API key too."""

    def __init__(self, keys: Iterable[str], *, admin_keys: Iterable[str] = ()) -> None:
        self._admin_digests = [_digest(key) for key in admin_keys]
        self._digests = [*map(_digest, keys), *self._admin_digests]

    def __bool__(self) -> bool:
        return bool(self._digests)

    @classmethod
    def read(cls, access: Access) -> "ApiKeys":
        """Read the keys of the files and of the environment.

        Raises:
            UsageError: a file cannot be read, a key is too short, or there is no key where one is needed.
        """
        keys = _keys_of(KEYS_VARIABLE, access.api_keys_file, option="--api-keys")
        admin_keys = _keys_of(ADMIN_KEYS_VARIABLE, access.admin_keys_file, option="--admin-keys")
        if not keys and not admin_keys and not access.is_loopback and not access.is_insecure:
            raise UsageError(
                f"without API keys only the loopback address is served: give --api-keys FILE or {KEYS_VARIABLE}, "
                "or --insecure to answer everybody"
            )
        return cls(keys, admin_keys=admin_keys)

    def know(self, key: str) -> bool:
        """Whether a key is known. The time that the comparison takes reveals nothing about the keys."""
        digest = _digest(key)
        return any([hmac.compare_digest(digest, known) for known in self._digests])

    def know_admin(self, key: str) -> bool:
        """Whether a key is an admin's; as ``know``."""
        digest = _digest(key)
        return any([hmac.compare_digest(digest, known) for known in self._admin_digests])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _keys_of(variable: str, file: str | None, *, option: str) -> list[str]:
    candidates = re.split(r"[\s,]+", os.environ.get(variable, ""))
    if file is not None:
        candidates += _lines_of(file, option=option)
    keys = [candidate for candidate in candidates if candidate]
    if any(len(key) < _LEAST_KEY_LENGTH for key in keys):
        raise UsageError(f"an API key is shorter than {_LEAST_KEY_LENGTH} characters: give a longer one")
    return keys


def _lines_of(path: str, *, option: str) -> list[str]:
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"{option} {path} cannot be read: {reason}") from None
    return [line.strip() for line in lines if not line.lstrip().startswith("#")]


def is_of_the_page(path: str) -> bool:
    """Whether a path is that of the page or of its files: they come before it can ask for a key."""
    return path == "/" or path.startswith(_PAGE_FILES)


class Guard:
    """Decides from the headers whether a request may come in."""

    def __init__(self, access: Access, keys: ApiKeys) -> None:
        self._keys = keys
        is_local = access.is_loopback and not keys
        self._hosts = frozenset(access.allowed_hosts or (LOOPBACK_NAMES if is_local else ()))
        self._origins = frozenset(access.allowed_origins)

    def check(self, path: str, headers: Headers, subprotocols: Sequence[str] = ()) -> None:
        """Let a request or a WebSocket pass.

        Raises:
            Problem: it may not come in.
        """
        if path in _NEEDS_NO_KEY:
            return
        self._check_host(headers.get("host", ""))
        self._check_origin(headers.get("origin"), host=headers.get("host", ""))
        if self._keys and not is_of_the_page(path):
            key = _key_of(headers.get("authorization", ""), subprotocols)
            if key is None:
                raise Unauthorized("an API key is needed: Authorization: Bearer KEY")
            if not self._keys.know(key):
                raise Unauthorized("this API key is not known")
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise UnsupportedType("send the body as it is, without a Content-Encoding")

    def require_admin(self, headers: Headers) -> None:
        """Let a request pass that changes what the server answers.

        Raises:
            Unauthorized: it brings no key.
            Forbidden: its key is not an admin's.
        """
        key = _key_of(headers.get("authorization", ""), ())
        if key is None:
            raise Unauthorized("an admin key is needed: Authorization: Bearer KEY")
        if not self._keys.know_admin(key):
            raise Forbidden("this is not an admin key; --admin-keys and VIDLAKE_ADMIN_KEYS name those")

    def _check_host(self, host: str) -> None:
        # A web page whose name was pointed at 127.0.0.1 (DNS rebinding) still sends that name.
        if self._hosts and _without_port(host).lower() not in self._hosts:
            raise Forbidden("this Host is not served")

    def _check_origin(self, origin: str | None, *, host: str) -> None:
        if origin is None or origin.rstrip("/").lower() in self._origins:
            return
        if not host or urlsplit(origin).netloc.lower() != host.lower():
            raise Forbidden("this Origin may not ask")


def answered_subprotocol(offered: Sequence[str]) -> str | None:
    """The subprotocol of an accepted WebSocket: browsers close one that accepts none of their offers."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else next(iter(offered), None)


def _key_of(authorization: str, subprotocols: Sequence[str]) -> str | None:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    offered = (word.removeprefix(_KEY_SUBPROTOCOL) for word in subprotocols if word.startswith(_KEY_SUBPROTOCOL))
    return next(offered, None)


def _without_port(host: str) -> str:
    return host if host.endswith("]") else re.sub(r":\d*$", "", host, flags=re.ASCII)
