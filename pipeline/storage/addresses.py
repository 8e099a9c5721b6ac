"""Addresses of objects: where a thing is, and the form of it that may be stored, compared and shown."""

import os
import re
from enum import Enum
from urllib.parse import quote, unquote_plus, unquote_to_bytes, urlsplit

from pipeline.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(file):/", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}

BUCKET_FAMILIES = {"s3": "s3", "az": "azure", "abfs": "azure", "abfss": "azure", "gs": "gcs"}
"""Schemes of object stores, and the family (also the extra that installs its driver) that each belongs to."""

_SECRET_PREFIXES = ("x-amz-", "x-goog-")
_SECRETS = frozenset(
    {"access_token", "api_key", "apikey", "auth_token", "authorization", "awsaccesskeyid", "googleaccessid"}
    | {"id_token", "jwt", "key-pair-id", "passwd", "password", "secret", "sig", "signature", "token"}
)
# Plain words that other services use for other things (``st`` and ``se`` as the ends of a clip, say): they belong to
# a signature only beside it.
_BESIDE_A_SIGNATURE = {
    "sig": frozenset(
        {"se", "sp", "sv", "sr", "st", "spr", "ske", "skoid", "sks", "skt", "sktid", "skv", "ss", "srt", "sip", "si"}
    ),
    "signature": frozenset({"expires", "policy", "algorithm", "hash-algorithm"}),
}


def scheme_of(text: str) -> str:
    """The lower-case scheme of an address; ``file`` for a plain path."""
    match = _SCHEME.match(text)
    return (match[1] or match[2]).lower() if match else "file"


class Place(Enum):
    """A kind of place where objects lie; each is read, and may keep datasets, in one way."""

    FILES = "this machine's file system"
    BUCKET = "an object store"
    WEB = "a web server"


def place_of(text: str) -> Place | None:
    """Where an address is; ``None``: of a scheme that is not known here."""
    scheme = scheme_of(text)
    if scheme == "file":
        return Place.FILES
    if scheme in BUCKET_FAMILIES:
        return Place.BUCKET
    return Place.WEB if scheme in _DEFAULT_PORTS else None


def is_local(text: str) -> bool:
    """Whether an address is on this machine's file system."""
    return place_of(text) is Place.FILES


def is_in_bucket(text: str) -> bool:
    """Whether an address lies in an object store."""
    return place_of(text) is Place.BUCKET


def store_of(uri: str) -> str:
    """What answers, or does not, for a canonical URI: a server, a bucket, or this machine's file system."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.partition('/')[0]}" if mark else "/"


def canonical_uri(text: str) -> str:
    """The form of an address that identifies a video and holds no secret.

    A local path or ``file:`` address becomes an absolute path in plain text (``shown``), its symlinks as given. An http
    one loses user info, signature parameters and the fragment; its other query parameters stay, in order. An object
    store's loses user info and signature parameters; its key stays as it is written.

    Raises:
        UsageError: not an address at all, or a file on another host.
    """
    scheme = scheme_of(text)
    if scheme == "file":
        return shown(local_path(text))
    if scheme in BUCKET_FAMILIES:
        return f"{scheme}://{_public_key_of(text.partition('://')[2], family=BUCKET_FAMILIES[scheme])}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not a valid {scheme}:// address: {_without_values(error)}") from None
    is_http = scheme in _DEFAULT_PORTS
    if is_http:
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        netloc = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    else:
        netloc = parts.netloc.rpartition("@")[2]
    query = _public_query(parts.query)
    return "".join(
        [
            f"{scheme}://{netloc}{parts.path}",
            f"?{query}" if query else "",
            f"#{parts.fragment}" if parts.fragment and not is_http else "",
        ]
    )


def name_of(locator: str) -> str:
    """What tells an address from every other one: its canonical URI, or a local name with the very bytes of it."""
    return local_path(locator) if is_local(locator) else canonical_uri(locator)


def has_secret(text: str) -> bool:
    """Whether an address holds what ``canonical_uri`` takes out of it: a password or a signature."""
    scheme = scheme_of(text)
    if scheme == "file":
        return False
    if scheme in BUCKET_FAMILIES:
        rest = text.partition("://")[2]
        return _public_key_of(rest, family=BUCKET_FAMILIES[scheme]) != rest
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return "@" in parts.netloc or _public_query(parts.query) != "&".join(filter(None, parts.query.split("&")))


def _public_key_of(rest: str, *, family: str) -> str:
    """Of an address of an object store, what stands behind its scheme."""
    place, slash, key = rest.partition("/")
    user, at, host = place.rpartition("@")
    # ``container@account`` of Azure is a place, not a person.
    place = f"{user.partition(':')[0]}{at}{host}" if family == "azure" else host
    name, mark, query = key.partition("?")
    if not query:
        return f"{place}{slash}{key}"
    public = _public_query(query)
    # A key may hold a question mark of its own: it is cut only where a signature stands behind it.
    is_signed = len(public) < len("&".join(filter(None, query.split("&"))))
    return f"{place}{slash}" + (f"{name}{mark if public else ''}{public}" if is_signed else key)


def local_path(text: str) -> str:
    """The absolute path of a plain path or ``file:`` address, its symlinks as given, for the functions of ``os``."""
    match = _SCHEME.match(text)
    if match is None:
        return os.path.abspath(text)
    rest = text[match.end() - 1 :] if match[2] else text[match.end() :]
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise UsageError(f"file://{host}/ is on another host: write file:///path or a plain path")
    return os.path.abspath(os.fsdecode(unquote_to_bytes(slash + path)))


def local_locator(path: str) -> str:
    """An address in plain text that opens a local file, whatever the bytes of its name."""
    return path if shown(path) == path else f"file://{quote(os.fsencode(path))}"


def shown(path: str) -> str:
    r"""A local path in plain text; bytes of it that are no UTF-8 are written as ``\xNN``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _public_query(query: str) -> str:
    fields = [(unquote_plus(field.partition("=")[0]).lower(), field) for field in query.split("&")]
    names = {name for name, _ in fields}
    secrets = _SECRETS.union(*(group for mark, group in _BESIDE_A_SIGNATURE.items() if mark in names))
    return "&".join(
        field for name, field in fields if name not in secrets and not name.startswith(_SECRET_PREFIXES) and field
    )


def _without_values(error: ValueError) -> str:
    """The complaint of ``urlsplit`` without the address, password included, that it quotes."""
    return re.split(r"[:'\"]", str(error), maxsplit=1)[0].strip()
