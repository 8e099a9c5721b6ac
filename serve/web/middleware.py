"""What every request passes, whatever its contract: an id, the guard, the limits, a line in the log."""

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import Metrics
from serve.problems import Problem, TookTooLong
from serve.web.bodies import BodyLimit
from serve.web.refusals import Refusals
from serve.web.security import Guard

# Serve's own log, which Ray keeps with the other logs of the session; `app.py` has it written as JSON.
_LOG = logging.getLogger("ray.serve")
_CLOSED_BY_POLICY = 1008
_CLIENT_IS_GONE = 499
IS_HEAD = "vidlake.is_head"
"""In the scope of a ``GET`` whose body nobody will see: a route whose body never ends asks for it."""
_ENDLESS_TYPE = b"text/event-stream"
"""What answers with this type lasts as long as the client listens."""


class Observed:
    """Gives each request an id, and logs one line when it is over: no body, no query, no value of a header."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, is_behind_proxy: bool) -> None:
        """Ray's proxy brings an id with every request, and puts it on the answer itself."""
        self._app = app
        self._metrics = metrics
        self._is_behind_proxy = is_behind_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log a line about it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given_id = Headers(scope=scope).get("x-request-id")
        request_id = given_id if given_id and re.fullmatch(r"[\w.:-]{1,100}", given_id, re.ASCII) else uuid.uuid4().hex
        is_put_on = given_id is None or not self._is_behind_proxy
        exchange = _Exchange(receive, send, request_id=request_id if is_put_on else None)
        began = time.monotonic()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.status = exchange.status or _CLIENT_IS_GONE
            raise
        finally:
            self._note(scope, exchange, request_id=request_id, seconds=time.monotonic() - began)

    def _note(self, scope: Scope, exchange: "_Exchange", *, request_id: str, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")  # which the router puts into the scope
        method = scope.get("method", "WEBSOCKET")
        status = exchange.status or (101 if scope["type"] == "websocket" else 500)
        self._metrics.answered(route=route, method=method, status=status, seconds=seconds)
        facts = {
            "request_id": request_id,
            "method": method,
            "endpoint": route,  # "route" is Serve's own word, for the application's prefix
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
        }
        _LOG.info("request", extra=facts)


class _Exchange:
    """Counts bytes, and puts the request's id on the answer if there is one."""

    def __init__(self, receive: Receive, send: Send, *, request_id: str | None) -> None:
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self.status: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += len(message.get("body") or message.get("bytes") or b"")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._request_id is not None:
                MutableHeaders(scope=message)["x-request-id"] = self._request_id
        elif message["type"] == "websocket.close" and self.status is None:
            self.status = message.get("code", 1000)
        self.bytes_out += len(message.get("body") or message.get("text") or b"")
        await self._send(message)


class Guarded:
    """Refuses clients that may not come in and bodies that are too long, and ends requests that take too long."""

    def __init__(
        self, app: ASGIApp, *, guard: Guard, body_limit: BodyLimit, max_seconds: float, refusals: Refusals
    ) -> None:
        self._app = app
        self._guard = guard
        self._body_limit = body_limit
        self._max_seconds = max_seconds
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._guard.check(scope["path"], Headers(scope=scope), scope.get("subprotocols", ()))
            self._body_limit.check_declared(Headers(scope=scope))
        except Problem as problem:
            await self._refuse(problem, scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._in_time(scope, receive, send)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False
        limit = asyncio.timeout(self._max_seconds)

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            if not has_begun and _is_endless(message):
                limit.reschedule(None)
            has_begun = True
            await send(message)

        try:
            async with limit:
                await self._app(scope, self._body_limit.bounded(receive), send_and_note)
        except TimeoutError:
            if has_begun:
                raise
            await self._refuse(TookTooLong(f"more than {self._max_seconds:g} s"), scope, receive, send)

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            closed: Message = {"type": "websocket.close", "code": _CLOSED_BY_POLICY, "reason": problem.message}
            await send(closed)  # a socket that is closed before it is accepted is status 403 to the client
            return
        await self._refusals.response(problem, path=scope["path"])(scope, receive, send)


def _is_endless(start: Message) -> bool:
    """Whether the answer that begins so is a stream of events."""
    return any(name == b"content-type" and value.startswith(_ENDLESS_TYPE) for name, value in start.get("headers", ()))


class HeadAsGet:
    """Answers ``HEAD`` as ``GET``, without the body: FastAPI's routes know only the method that they name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, a ``HEAD`` as ``GET``."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        as_get = {**scope, "method": "GET", IS_HEAD: True}
        try:
            await self._app(as_get, receive, send_without_body)
        finally:
            if "route" in as_get:
                scope["route"] = as_get["route"]  # for the log
