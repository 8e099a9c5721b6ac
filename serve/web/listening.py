"""A replica that listens itself: on one machine nothing need stand between its clients and the model."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from pipeline.errors import RunError

KEEP_ALIVE_S = 75
"""How long a connection may be idle, whoever listens."""
_LAST_BYTES_S = 5
"""How long clients may take to fetch the rest of their answers once the server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """IPv6 for its literals, IPv4 for all else."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def bound(self) -> socket.socket:
        """A socket at this address, beside others of the same user that do so too; only those that listen get clients.

        Raises:
            OSError: the address is not this machine's, or somebody else has the port.
        """
        one = socket.socket(self.family)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((self.host.strip("[]"), self.port))
        except BaseException:
            one.close()
            raise
        return one


class Listener:
    """Answers HTTP and WebSockets at one address, in the event loop that starts it."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        """Nobody is answered before ``start``."""
        self._address = address
        self._server = _Server(
            uvicorn.Config(
                EndedWithClient(app),
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=_LAST_BYTES_S,
                ws_per_message_deflate=False,  # what comes in is compressed already, and waits for a core
                access_log=False,
                log_config=None,
                log_level="error",
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            RunError: somebody else has the port, or the application does not start.
        """
        try:
            bound = self._address.bound()
        except OSError as error:
            raise RunError(f"cannot listen on {self._address.host}:{self._address.port}: {error.strerror}") from None
        self._serving = asyncio.create_task(self._server.serve([bound]))
        while not self._server.started:
            if self._serving.done():
                bound.close()
                await self._serving
            await asyncio.sleep(0.01)

    @property
    def is_listening(self) -> bool:
        """Whether it has started, and has not ended since."""
        return self._serving is not None and not self._serving.done()

    async def close(self) -> None:
        """Take no more connections, end those that are open once they are answered, and close the application."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _Server(uvicorn.Server):
    """Leaves the signals to Ray's worker, and its end."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise RunError("the application does not start; its worker's log says why") from None


class EndedWithClient:
    """Ends the work for a client that hangs up, as Ray's proxy does for those that come through it.

    Unlike the proxy it reads no more of a body than the application asks for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        working = asyncio.current_task()
        assert working is not None
        client = _Client(receive, send, working=working)
        try:
            if not _announces_body(scope):
                await client.expect_no_body()
            await self._app(scope, client.receive, client.send)
        except asyncio.CancelledError:
            if not client.is_gone:
                raise
            working.uncancel()
        finally:
            client.forget()


def _announces_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


class _Client:
    """Watches, from the last byte of a request on, whether its client is still there."""

    def __init__(self, receive: Receive, send: Send, *, working: asyncio.Task[object]) -> None:
        self.is_gone = False
        self._receive = receive
        self._send = send
        self._working = working
        self._is_answered = False
        self._first: Message | None = None
        self._watching: asyncio.Task[None] | None = None

    async def expect_no_body(self) -> None:
        """Watch from the start on: an application that wants no body may never ask for one."""
        self._first = await self.receive()

    async def receive(self) -> Message:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._hang_up()
            await asyncio.sleep(0)  # where the work itself asks, it ends here
        elif not message.get("more_body", False) and self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        return message

    async def send(self, message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._is_answered = self._is_answered or is_last
        await self._send(message)

    def forget(self) -> None:
        """The work has ended."""
        self._is_answered = True
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._hang_up()

    def _hang_up(self) -> None:
        if not self._is_answered and not self.is_gone:
            self.is_gone = True
            self._working.cancel()
