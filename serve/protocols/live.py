"""``WS /v1/live``: the client sends encoded pictures, and gets one JSON message for each, in order."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from serve.inference.labels import best_labels
from serve.inference.service import FeatureService
from serve.problems import BadInput, Busy, Problem, UnsupportedType, document_of
from serve.protocols.features import Top
from serve.web.dependencies import Service
from serve.web.replies import to_json
from serve.web.security import answered_subprotocol

router = APIRouter()
# The codes of RFC 6455 with which a socket is closed.
_GOING_AWAY, _POLICY_VIOLATION, _TRY_AGAIN_LATER = 1001, 1008, 1013


@dataclass(frozen=True, slots=True)
class _Picture:
    seq: int
    time_s: float
    data: bytes


class Backlog:
    """The pictures of one client that wait: of one too many, the oldest is dropped."""

    def __init__(self, *, length: int, on_drop: Callable[[int], None] = lambda num_pictures: None) -> None:
        self._pictures: deque[_Picture] = deque()
        self._length = length
        self._on_drop = on_drop
        self._num_dropped = 0
        self._num_seen = 0
        self._began: float | None = None
        self._is_closed = False
        self._changed = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Take one more picture; ``time_s`` counts from the first one's arrival."""
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        if len(self._pictures) == self._length:
            self._pictures.popleft()
            self._num_dropped += 1
            self._on_drop(1)
        self._pictures.append(_Picture(self._num_seen, round(now - self._began, 6), data))
        self._num_seen += 1
        self._changed.set()

    def close(self) -> None:
        """No more pictures come."""
        self._is_closed = True
        self._changed.set()

    async def next(self) -> tuple[int, _Picture | None]:
        """How many pictures were dropped since the last call, and the oldest that waits; ``None``: none comes."""
        while not self._pictures and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        num_dropped, self._num_dropped = self._num_dropped, 0
        return num_dropped, self._pictures.popleft() if self._pictures else None


@router.websocket("/v1/live")
async def live(
    socket: WebSocket,
    service: Service,
    output: Annotated[Literal["feature", "labels"], Query()] = "feature",
    top: Top = 5,
) -> None:
    """Answer pictures as they come, until the client hangs up or the server is about to stop."""
    await socket.accept(subprotocol=answered_subprotocol(socket.scope.get("subprotocols", ())))
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # Starlette's word for writing to who has hung up
        try:
            with service.connected():
                await _Session(socket, service, num_labels=top if output == "labels" else 0).run()
        except Busy as problem:
            await socket.close(_GOING_AWAY if service.is_draining else _TRY_AGAIN_LATER, reason=problem.message)
        except Problem as problem:
            await socket.close(_POLICY_VIOLATION, reason=problem.message)


class _Session:
    """One open socket."""

    def __init__(self, socket: WebSocket, service: FeatureService, *, num_labels: int) -> None:
        self._socket = socket
        self._service = service
        self._num_labels = num_labels
        self._backlog = Backlog(length=service.limits.live_queue, on_drop=service.dropped)

    async def run(self) -> None:
        """Answer until no more comes.

        Raises:
            Busy: the server is about to stop; what had come is answered.
        """
        if self._num_labels:
            self._service.require_classes()
        listening = asyncio.create_task(self._listen())
        draining = asyncio.create_task(self._service.draining.wait())
        draining.add_done_callback(lambda _: self._backlog.close())
        try:
            await self._answer()
        finally:
            for task in (listening, draining):
                task.cancel()
            await asyncio.gather(listening, draining, return_exceptions=True)
        if self._service.is_draining:
            raise Busy("the server is about to stop")

    async def _listen(self) -> None:
        try:
            while (message := await self._socket.receive())["type"] == "websocket.receive":
                data = message.get("bytes")
                if data is None:
                    await self._send(document_of(UnsupportedType("send pictures, as binary messages")))
                else:
                    self._backlog.put(data)
        finally:
            self._backlog.close()

    async def _answer(self) -> None:
        while True:
            num_dropped, picture = await self._backlog.next()
            if num_dropped:
                await self._send({"dropped": num_dropped})
            if picture is None:
                return
            await self._send({"seq": picture.seq, "time_s": picture.time_s, **await self._content(picture.data)})

    async def _content(self, data: bytes) -> dict[str, Any]:
        try:
            if len(data) > self._service.limits.max_body_bytes:
                raise BadInput("too_large", f"a picture may have {self._service.limits.max_body_bytes} bytes")
            features = await self._service.still(data)
            if not self._num_labels:
                return {"feature": features[0]}
            probabilities = await self._service.probabilities(features)
            return {"labels": best_labels(probabilities, self._service.classes, top=self._num_labels)[0]}
        except Problem as problem:
            return document_of(problem)

    async def _send(self, document: dict[str, Any]) -> None:
        await self._socket.send_text(to_json(document).decode())
