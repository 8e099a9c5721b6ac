"""A replica that listens itself: who has hung up costs nothing more, and a body is read as fast as it is wanted."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from patience import PATIENCE_S
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import RunError
from serve.web.listening import Address, Listener


class Application:
    """Notes what becomes of its requests; ``answer`` is the work for one of them."""

    def __init__(self, answer: Callable[[Request], Awaitable[None]] | None = None) -> None:
        self.began = asyncio.Event()
        self.was_ended = asyncio.Event()
        self.was_closed = False
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            self.began.set()
            if self._answer is not None:
                await self._answer(Request(scope, receive))
            await PlainTextResponse("done")(scope, receive, send)
        except asyncio.CancelledError:
            self.was_ended.set()
            raise

    async def _live(self, receive: Receive, send: Send) -> None:
        for event in ("startup", "shutdown"):
            await receive()
            self.was_closed = event == "shutdown"
            await send({"type": f"lifespan.{event}.complete"})


@contextlib.asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[Address]:
    address = free_address()
    listener = Listener(app, address)
    await listener.start()
    try:
        yield address
    finally:
        await listener.close()


def free_address() -> Address:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return Address(host="127.0.0.1", port=trial.getsockname()[1])


async def sent(address: Address, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def forever(request: Request) -> None:
    await asyncio.Event().wait()


async def for_its_body(request: Request) -> None:
    await request.body()


async def forever_after_its_body(request: Request) -> None:
    await request.body()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("request_bytes", "work"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", forever, id="without a body"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab", forever_after_its_body, id="after its body"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab", for_its_body, id="amid its body"),
    ],
)
def test_work_for_a_client_that_hangs_up_is_ended(
    request_bytes: bytes, work: Callable[[Request], Awaitable[None]]
) -> None:
    async def main() -> None:
        app = Application(work)
        async with listening(app) as address:
            _, writer = await sent(address, request_bytes)
            await asyncio.wait_for(app.began.wait(), PATIENCE_S)
            writer.close()
            await asyncio.wait_for(app.was_ended.wait(), PATIENCE_S)

    asyncio.run(main())


def test_work_after_the_answer_is_not_ended_with_the_client() -> None:
    """What is left to do then, such as a line in the log, is not for the client."""

    async def main() -> None:
        finished = asyncio.Event()
        may_finish = asyncio.Event()
        app = Application()

        async def answer_and_go_on(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)
            if scope["type"] == "http":
                await may_finish.wait()
                finished.set()

        async with listening(answer_and_go_on) as address:
            reader, writer = await sent(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert await asyncio.wait_for(reader.readuntil(b"done"), PATIENCE_S)
            writer.close()
            await asyncio.sleep(0.1)
            may_finish.set()
            await asyncio.wait_for(finished.wait(), PATIENCE_S)

    asyncio.run(main())


def test_body_that_nobody_reads_stays_with_the_client() -> None:
    """Ray's proxy would hold all of it in memory."""

    async def main() -> None:
        app = Application(forever)
        async with listening(app) as address:
            _, writer = await sent(address, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n")
            await asyncio.wait_for(app.began.wait(), PATIENCE_S)
            writer.write(bytes(99_999_999))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.drain(), 1)
            writer.transport.abort()

    asyncio.run(main())


def test_connection_answers_one_request_after_another() -> None:
    async def main() -> None:
        async with listening(Application(for_its_body)) as address:
            reader, writer = await sent(address, b"")
            for body in (b"", b"ab", b"abc"):
                writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                assert await asyncio.wait_for(reader.readuntil(b"done"), PATIENCE_S)
            writer.close()

    asyncio.run(main())


def test_close_lets_the_client_have_all_of_its_answer() -> None:
    length = 8_000_000

    async def long_answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Application()(scope, receive, send)
            return

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield bytes(length // 8)

        await StreamingResponse(pieces())(scope, receive, send)

    async def main() -> None:
        address = free_address()
        listener = Listener(long_answer, address)
        await listener.start()
        reader, writer = await sent(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        start = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        assert b"200" in start
        closing = asyncio.create_task(listener.close())
        rest = await asyncio.wait_for(reader.read(), PATIENCE_S)
        await closing
        assert len(rest) >= length
        assert not listener.is_listening
        writer.close()

    asyncio.run(main())


def test_application_is_closed_with_its_listener() -> None:
    async def main() -> None:
        app = Application()
        async with listening(app):
            assert not app.was_closed
        assert app.was_closed

    asyncio.run(main())


def test_held_port_is_for_its_holders_replicas_alone() -> None:
    """The command holds it from its first check on, and however often a replica is started anew."""
    address = free_address()
    with address.bound(), contextlib.ExitStack() as stack:
        stack.enter_context(address.bound()).listen()
        with socket.create_connection((address.host, address.port)):
            pass
        other = stack.enter_context(socket.socket())
        with pytest.raises(OSError, match="in use"):
            other.bind((address.host, address.port))


def test_port_that_was_lost_is_told() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            listener = Listener(Application(), Address(host="127.0.0.1", port=taken.getsockname()[1]))
            with pytest.raises(RunError, match="cannot listen"):
                await listener.start()
            assert not listener.is_listening

    asyncio.run(main())


def test_application_that_does_not_start_is_told() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        assert message["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.failed", "message": "no"})

    async def main() -> None:
        with pytest.raises(RunError, match="does not start"):
            await Listener(failing, free_address()).start()

    asyncio.run(main())
