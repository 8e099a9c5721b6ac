"""The relay between the decoder and an RTSP camera: it speaks to one checked address, and nobody is sent elsewhere.

The decoder connects to the relay and asks for the URL that the relay goes by. The relay puts the camera's own URLs in
its requests, and its own in the answers; it answers the camera that asks for credentials, so that the decoder knows of
none; and TLS ends here.
"""

import re
import select
import socket
from dataclasses import replace

from pipeline.cameras.pulling.connector.connecting import Connections
from pipeline.cameras.pulling.connector.logins import Challenge
from pipeline.cameras.pulling.connector.rtsp_messages import Message, NotRtsp, Packet, Splitter
from pipeline.cameras.pulling.connector.task import Task
from pipeline.cameras.pulling.ended import EndReason, SourceFailed

_FIRST_REQUEST_S = 5.0
_READ_BYTES = 1 << 16
_NO_SUCH_TRANSPORT = 461
_DECISIVE = frozenset({"DESCRIBE", "SETUP", "PLAY"})
_REWRITTEN_HEADERS = frozenset({"content-base", "content-location", "rtp-info"})
_AUTHORITY = re.compile(r"rtsps?://[^/\s;,\"']+", re.IGNORECASE)


class Relay:
    """One conversation."""

    def __init__(self, task: Task, listener: socket.socket) -> None:
        self._task = task
        port = listener.getsockname()[1]
        # By the first the decoder asks for the source, by the second for what the camera names by its own addresses.
        self._own, self._named = (f"rtsp://127.0.0.1:{port}/{token}" for token in task.relay_tokens)
        self._listener = listener
        self._challenge: Challenge | None = None
        self._asked: dict[str, Message] = {}
        self._freshly_answered: set[str] = set()

    def run(self) -> None:
        """Connect to the camera, and pass on what it and the decoder say until one hangs up.

        Raises:
            SourceFailed: the camera cannot be reached, refuses, or sends elsewhere.
        """
        with Connections(self._task.allowed).connect(self._task.origin) as camera:
            decoder, first = self._accepted()
            with decoder:
                self._pass_on(camera, decoder, first)

    def _pass_on(self, camera: socket.socket, decoder: socket.socket, first: bytes) -> None:
        camera.settimeout(None)
        decoder.settimeout(None)
        from_decoder, from_camera = Splitter(), Splitter()
        try:
            self._pass_up(from_decoder, first, camera)
            while True:
                # TLS may hold bytes that the socket no longer shows.
                pending = getattr(camera, "pending", lambda: 0)()
                ready = [camera] if pending else select.select([camera, decoder], [], [])[0]
                if decoder in ready:
                    if not (data := decoder.recv(_READ_BYTES)):
                        return
                    self._pass_up(from_decoder, data, camera)
                if camera in ready:
                    if not (data := camera.recv(_READ_BYTES)):
                        raise SourceFailed(EndReason.CLOSED, "the camera hung up")
                    self._pass_down(from_camera, data, camera, decoder)
        except NotRtsp as error:
            raise SourceFailed(EndReason.UNREADABLE, str(error)) from None
        except OSError as error:
            raise SourceFailed(EndReason.CLOSED, error.strerror or str(error)) from None

    def _accepted(self) -> tuple[socket.socket, bytes]:
        """The decoder's connection and its first request; any other process does not know what to ask for."""
        while True:
            connection, _ = self._listener.accept()
            connection.settimeout(_FIRST_REQUEST_S)
            try:
                first = connection.recv(_READ_BYTES)
            except OSError:
                first = b""
            if self._own.encode() in first:
                self._listener.close()
                return connection, first
            connection.close()

    def _pass_up(self, splitter: Splitter, data: bytes, camera: socket.socket) -> None:
        for each in splitter.feed(data):
            if isinstance(each, Packet):
                camera.sendall(each.data)
            elif each.is_answer:
                camera.sendall(each.written())
            else:
                request = self._for_camera(each)
                self._asked[request.sequence] = request
                self._send(request, camera)

    def _pass_down(self, splitter: Splitter, data: bytes, camera: socket.socket, decoder: socket.socket) -> None:
        packets = bytearray()
        for each in splitter.feed(data):
            if isinstance(each, Packet):
                packets += each.data
            elif each.is_answer:
                decoder.sendall(packets)
                packets.clear()
                self._answer(each, camera, decoder)
            elif each.method == "REDIRECT":
                raise SourceFailed(EndReason.REFUSED, "the camera sends elsewhere (REDIRECT)")
            else:  # it asks whether somebody is still there
                camera.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {each.sequence}\r\n\r\n".encode("latin-1"))
        decoder.sendall(packets)

    def _answer(self, answer: Message, camera: socket.socket, decoder: socket.socket) -> None:
        request = self._asked.get(answer.sequence)
        if request is None:
            return  # to nothing that was asked
        if 300 <= answer.status < 400:
            raise SourceFailed(EndReason.REFUSED, f"the camera sends elsewhere ({answer.status})")
        if answer.status == 401:
            self._log_in(answer, request, camera)
            return
        del self._asked[answer.sequence]
        self._freshly_answered.discard(answer.sequence)
        if answer.status == _NO_SUCH_TRANSPORT:
            raise SourceFailed(EndReason.UNREADABLE, "the camera does not send over TCP")
        if answer.status >= 400 and request.method in _DECISIVE:
            raise SourceFailed(EndReason.UNREACHABLE, f"{request.method}: {answer.first_line[9:][:100]}")
        if request.method == "SETUP" and "interleaved" not in "".join(answer.all_of("transport")):
            raise SourceFailed(EndReason.UNREADABLE, "the camera does not send over TCP")
        decoder.sendall(self._for_decoder(answer).written())

    def _log_in(self, answer: Message, request: Message, camera: socket.socket) -> None:
        challenge = Challenge.best_of(answer.all_of("www-authenticate"))
        if self._task.login is None:
            raise SourceFailed(EndReason.UNAUTHORIZED, "the camera asks for a user and a password")
        if challenge is None:
            raise SourceFailed(EndReason.UNAUTHORIZED, "the camera asks for a login of a kind that is not known")
        if request.sequence in self._freshly_answered and not challenge.is_stale:
            raise SourceFailed(EndReason.UNAUTHORIZED, "the camera does not take this user and password")
        self._challenge = challenge
        self._freshly_answered.add(request.sequence)
        self._send(request, camera)

    def _send(self, request: Message, camera: socket.socket) -> None:
        headers = list(request.headers)
        if self._challenge is not None and self._task.login is not None:
            uri = request.first_line.split(" ")[1]
            headers.append(("Authorization", self._challenge.answer(self._task.login, method=request.method, uri=uri)))
        camera.sendall(replace(request, headers=headers).written())

    def _for_camera(self, request: Message) -> Message:
        words = request.first_line.split(" ")
        if len(words) != 3:
            raise NotRtsp("a request of another form")
        if words[1].startswith(self._own):
            words[1] = f"{self._task.origin}{self._task.target}{words[1].removeprefix(self._own)}"
        elif words[1].startswith(self._named):
            words[1] = f"{self._task.origin}{words[1].removeprefix(self._named)}"
        elif words[1] != "*":
            raise NotRtsp("a request for another address")
        dropped = {"authorization", "user-agent"}
        headers = [(name, value) for name, value in request.headers if name.lower() not in dropped]
        return replace(request, first_line=" ".join(words), headers=[*headers, ("User-Agent", "vidlake")])

    def _for_decoder(self, answer: Message) -> Message:
        headers = [
            (name, self._renamed(value) if name.lower() in _REWRITTEN_HEADERS else value)
            for name, value in answer.headers
            if name.lower() != "www-authenticate"
        ]
        return replace(answer, headers=headers, body=self._renamed(answer.body.decode("latin-1")).encode("latin-1"))

    def _renamed(self, text: str) -> str:
        """With the camera's addresses, whatever they are, as ways to ask this relay."""
        return _AUTHORITY.sub(self._named, text)
