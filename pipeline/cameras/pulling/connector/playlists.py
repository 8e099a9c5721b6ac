"""What HLS playlists say, as ``m3u8`` reads them (it never fetches anything here), with absolute addresses."""

import importlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from pipeline.cameras.pulling.connector.http_client import ByteRange
from pipeline.cameras.pulling.ended import EndReason, SourceFailed
from pipeline.records.extras import missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address and the part of what lies there that is meant."""

    url: str
    byte_range: ByteRange | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """How a segment is encrypted."""

    url: str
    initial: bytes
    """The initialisation vector, 16 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of the stream."""

    sequence: int
    place: Place
    map: Place | None
    """What comes before it, in fragmented MP4."""
    key: Key | None
    follows_discontinuity: bool
    is_missing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlaylist:
    """The segments that there are now."""

    segments: tuple[Segment, ...]
    is_complete: bool
    """Whether no other will ever come."""
    target_duration_s: float


def parsed(text: str, *, url: str) -> MediaPlaylist | str:
    """A media playlist, or the address of the best variant that a master playlist names.

    Raises:
        SourceFailed: it is neither, or encrypted in a way that is not known.
    """
    try:
        return _parsed(text, url)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise SourceFailed(EndReason.UNREADABLE, f"no playlist ({type(error).__name__})") from None


def _parsed(text: str, url: str) -> MediaPlaylist | str:
    m3u8 = _m3u8()
    try:
        playlist = m3u8.loads(text)
    except m3u8.ParseError:
        raise ValueError("no playlist") from None
    if playlist.is_variant:
        best = max(playlist.playlists, key=lambda each: each.stream_info.bandwidth or 0)
        return urljoin(url, str(best.uri))
    if not playlist.segments and not playlist.target_duration:
        raise SourceFailed(EndReason.UNREADABLE, "a playlist without segments")
    ends: dict[str, int] = {}
    return MediaPlaylist(
        segments=tuple(_segment(each, url, ends) for each in playlist.segments),
        is_complete=bool(playlist.is_endlist),
        target_duration_s=float(playlist.target_duration or 6),
    )


def _m3u8() -> Any:
    try:
        return importlib.import_module("m3u8")
    except ImportError:
        detail = missing("m3u8", extra="cameras", command="HLS")
        raise SourceFailed(EndReason.UNREADABLE, detail) from None


def _segment(each: Any, url: str, ends: dict[str, int]) -> Segment:
    address = urljoin(url, str(each.uri))
    byte_range = _byte_range(each.byterange, start=ends.get(address, 0))
    if byte_range is not None:
        ends[address] = byte_range.first + byte_range.length
    section = each.init_section
    return Segment(
        sequence=int(each.media_sequence or 0),
        place=Place(url=address, byte_range=byte_range),
        map=Place(url=urljoin(url, str(section.uri)), byte_range=_byte_range(section.byterange, start=0))
        if section and section.uri
        else None,
        key=_key(each, url),
        follows_discontinuity=bool(each.discontinuity),
        is_missing=bool(each.gap_tag),
    )


def _byte_range(text: str | None, *, start: int) -> ByteRange | None:
    """``LENGTH@FIRST``; without the second, it begins where the range before ends."""
    match = re.fullmatch(r"(\d{1,15})(?:@(\d{1,15}))?", text or "")
    if match is None:
        return None
    return ByteRange(first=int(match[2]) if match[2] else start, length=int(match[1]))


def _key(each: Any, url: str) -> Key | None:
    key = each.key
    if key is None or key.method in (None, "NONE"):
        return None
    if key.method != "AES-128" or not key.uri:
        raise SourceFailed(EndReason.UNREADABLE, f"segments are encrypted by {key.method}, which is not known here")
    initial = int(key.iv, 16) if key.iv else int(each.media_sequence or 0)
    return Key(url=urljoin(url, str(key.uri)), initial=(initial % (1 << 128)).to_bytes(16, "big"))
