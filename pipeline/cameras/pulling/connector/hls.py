"""HLS (RFC 8216): playlists are read again as they grow, and their segments piped to the decoder one after another."""

import importlib
import time
from itertools import pairwise

from pipeline.cameras.pulling.connector.http_client import HttpClient
from pipeline.cameras.pulling.connector.playlists import Key, MediaPlaylist, Place, Segment, parsed
from pipeline.cameras.pulling.ended import EndReason, SourceFailed
from pipeline.media.live.parts import DATA, END, PART
from pipeline.media.process.wire import Channel
from pipeline.records.extras import missing

MOST_PLAYLIST_BYTES = 4 << 20
_MOST_SEGMENT_BYTES = 256 << 20
_MOST_MAP_BYTES = 8 << 20
_KEY_BYTES = 16
_PIECE_BYTES = 1 << 18
# A player of a live stream begins three segments before its end.
_SEGMENTS_BEFORE_END = 3
_MOST_MASTERS = 3


class HlsSource:
    """Plays one playlist into the decoder's pipe, which takes no more than it can show: that keeps the pace."""

    def __init__(self, client: HttpClient, body: Channel) -> None:
        self._client = client
        self._body = body
        self._keys: dict[str, bytes] = {}
        self._maps: dict[Place, bytes] = {}
        self._next_sequence: int | None = None
        self._map: Place | None = None
        self._is_begun = False

    def play(self, url: str, text: str) -> None:
        """From a playlist, master or media, whose text has been fetched, to its end, if it has one.

        Raises:
            SourceFailed: something of it cannot be fetched, or lies where it may not.
            HungUp: the decoder is gone.
        """
        playlist = parsed(text, url=url)
        for _ in range(_MOST_MASTERS):
            if isinstance(playlist, MediaPlaylist):
                break
            url, playlist = self._loaded(playlist)
        if not isinstance(playlist, MediaPlaylist):
            raise SourceFailed(EndReason.UNREADABLE, "playlists that name each other")
        while True:
            loaded_s = time.monotonic()
            num_new = self._play_new(playlist)
            if playlist.is_complete:
                self._body.send(END)
                return
            # As the standard has it: at once after a target duration, after half of one where nothing was new.
            pause_s = playlist.target_duration_s * (1.0 if num_new else 0.5)
            time.sleep(max(0.2, min(loaded_s + pause_s - time.monotonic(), playlist.target_duration_s / 2)))
            url, again = self._loaded(url)
            if not isinstance(again, MediaPlaylist):
                raise SourceFailed(EndReason.UNREADABLE, "a media playlist that became a master playlist")
            playlist = again

    def _loaded(self, url: str) -> tuple[str, MediaPlaylist | str]:
        answer = self._client.get(url)
        text = answer.read(most_bytes=MOST_PLAYLIST_BYTES).decode("utf-8", "replace")
        return answer.url, parsed(text, url=answer.url)

    def _play_new(self, playlist: MediaPlaylist) -> int:
        new = self._new_segments(playlist)
        for segment in new:
            self._next_sequence = segment.sequence + 1
            if segment.is_missing:
                continue
            try:
                data = self._fetched(segment)
            except SourceFailed as error:
                if playlist.is_complete or error.reason is not EndReason.UNREACHABLE:
                    raise
                continue  # it is no longer there: the stream goes on
            self._send(segment, data)
        return len(new)

    def _new_segments(self, playlist: MediaPlaylist) -> list[Segment]:
        segments = list(playlist.segments)
        following = self._next_sequence
        is_behind = bool(segments) and following is not None and following < segments[0].sequence
        is_anew = bool(segments) and following is not None and following > segments[-1].sequence + 1
        if is_anew:  # the server counts from the beginning again
            self._is_begun = False
        if following is None or is_behind or is_anew:
            return segments if playlist.is_complete else segments[-_SEGMENTS_BEFORE_END:]
        return [segment for segment in segments if segment.sequence >= following]

    def _send(self, segment: Segment, data: bytes) -> None:
        if not self._is_begun or segment.follows_discontinuity or segment.map != self._map:
            self._body.send(PART + b"paced")
            self._is_begun, self._map = True, segment.map
            if segment.map is not None:
                self._pipe(self._fetched_map(segment.map, segment.key))
        self._pipe(data)

    def _pipe(self, data: bytes) -> None:
        edges = [*range(0, len(data), _PIECE_BYTES), len(data)]
        for start, end in pairwise(edges):
            self._body.send(DATA + data[start:end])

    def _fetched(self, segment: Segment) -> bytes:
        data = self._client.fetch(
            segment.place.url, most_bytes=_MOST_SEGMENT_BYTES, byte_range=segment.place.byte_range
        )
        return data if segment.key is None else self._decrypted(data, segment.key)

    def _fetched_map(self, place: Place, key: Key | None) -> bytes:
        if place not in self._maps:
            self._maps.clear()
            data = self._client.fetch(place.url, most_bytes=_MOST_MAP_BYTES, byte_range=place.byte_range)
            is_plain = data[4:8] in (b"ftyp", b"styp", b"moov")
            self._maps[place] = data if key is None or is_plain else self._decrypted(data, key)
        return self._maps[place]

    def _decrypted(self, data: bytes, key: Key) -> bytes:
        if key.url not in self._keys:
            if len(self._keys) > 100:
                self._keys.clear()
            self._keys[key.url] = self._client.fetch(key.url, most_bytes=_KEY_BYTES)
        secret = self._keys[key.url]
        if len(secret) != _KEY_BYTES or len(data) % 16 or not data:
            raise SourceFailed(EndReason.UNREADABLE, "a segment that its key does not open")
        try:
            ciphers = importlib.import_module("cryptography.hazmat.primitives.ciphers")
        except ImportError:
            detail = missing("cryptography", extra="cameras", command="encrypted HLS")
            raise SourceFailed(EndReason.UNREADABLE, detail) from None
        cipher = ciphers.Cipher(ciphers.algorithms.AES(secret), ciphers.modes.CBC(key.initial)).decryptor()
        plain: bytes = cipher.update(data) + cipher.finalize()
        num_padding = plain[-1]
        if not 1 <= num_padding <= 16:
            raise SourceFailed(EndReason.UNREADABLE, "a segment that its key does not open")
        return plain[:-num_padding]
