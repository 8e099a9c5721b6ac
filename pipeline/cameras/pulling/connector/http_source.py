"""A source by HTTP: what it is, its bytes piped to the decoder."""

from pipeline.cameras.pulling.connector.hls import HlsSource
from pipeline.cameras.pulling.connector.http_client import Answer, HttpClient
from pipeline.cameras.pulling.connector.task import Task
from pipeline.cameras.pulling.ended import EndReason, SourceFailed
from pipeline.media.live.parts import DATA, END, PART
from pipeline.media.process.wire import Channel

_PLAYLIST_TYPES = frozenset({"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl"})
_PLAYLIST_START = b"#EXTM3U"
_MULTIPART = "multipart/x-mixed-replace"
_MOST_PLAYLIST_BYTES = 4 << 20


def pipe_http(task: Task, body: Channel) -> None:
    """Fetch a source and pipe it to the decoder, until it ends.

    Raises:
        SourceFailed: it cannot be fetched, or leads to where it may not.
        HungUp: the decoder is gone.
    """
    body.receive()  # the decoder is ready: what came before would seem to come all at once
    client = HttpClient(task)
    answer = client.get(f"{task.origin}{task.target}")
    if answer.content_type.startswith("image/"):
        raise SourceFailed(EndReason.UNREADABLE, f"{answer.shown_url}: a still picture, not a stream")
    first = b""
    while len(first) < len(_PLAYLIST_START) and (chunk := next(answer.chunks, b"")):
        first += chunk
    if answer.content_type in _PLAYLIST_TYPES or first.startswith(_PLAYLIST_START):
        playlist = _rest_of(answer, first)
        HlsSource(client, body).play(answer.url, playlist.decode("utf-8", "replace"))
        return
    body.send(PART + _kind_of(answer).encode(), DATA + first)
    for chunk in answer.chunks:
        body.send(DATA + chunk)
    if answer.length is not None:
        body.send(END)


def _kind_of(answer: Answer) -> str:
    if answer.content_type == _MULTIPART:
        return "live mpjpeg"
    return "live" if answer.length is None else "paced"


def _rest_of(answer: Answer, first: bytes) -> bytes:
    return first + answer.read(most_bytes=_MOST_PLAYLIST_BYTES)
