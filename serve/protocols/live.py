"""``WS /v1/live``: the client sends encoded pictures and gets one JSON message for each, in order."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from serve.inference.backlogs import Backlog
from serve.inference.service import FeatureService
from serve.problems import Busy, Problem, UnsupportedType, document_of
from serve.protocols.parameters import HeadName, Service, Top
from serve.protocols.socket_answers import Answers, ClassAnswers, FeatureAnswers, HeadAnswers, message_for
from serve.web.bodies import BodyLimit
from serve.web.replies import to_json
from serve.web.security import answered_subprotocol

router = APIRouter()
# The codes of RFC 6455 with which a socket is closed.
_GOING_AWAY, _POLICY_VIOLATION, _TRY_AGAIN_LATER = 1001, 1008, 1013
_REASON_BYTES = 123
"""Of the reason that a frame which closes a socket has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The number of pictures that were dropped since the last message."""

    dropped: int


@router.websocket("/v1/live")
async def live(
    socket: WebSocket,
    service: Service,
    output: Annotated[Literal["feature", "labels"] | None, Query()] = None,
    head: HeadName = None,
    top: Top = 5,
) -> None:
    """Answer pictures as they come, until the client hangs up or the server is about to stop.

    Without ``output``, a socket that names a head gets its labels, and any other one gets features.
    """
    await socket.accept(subprotocol=answered_subprotocol(socket.scope.get("subprotocols", ())))
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # Starlette's word for writing to who has hung up
        try:
            with service.admission.socket(), service.backlogs.opened() as backlog:
                answers = _answers(service, output=output, head=head, top=top)
                await _Session(socket, service, backlog, answers).run()
        except Busy as problem:
            code = _GOING_AWAY if service.admission.is_draining else _TRY_AGAIN_LATER
            await socket.close(code, reason=problem.message)
        except Problem as problem:
            await socket.close(_POLICY_VIOLATION, reason=_reason(problem))


def _answers(
    service: FeatureService, *, output: Literal["feature", "labels"] | None, head: str | None, top: int
) -> Answers:
    if output == "feature" and head is not None:
        raise Problem("a head gives labels: ask for output=labels, or name no head")
    if output == "feature" or (output is None and head is None):
        return FeatureAnswers(service)
    name = head if head is not None else service.default_head
    return ClassAnswers(service, top=top) if name is None else HeadAnswers(service, name, top=top)


def _reason(problem: Problem) -> str:
    """The message, as long as a frame that closes a socket may be."""
    return problem.message.encode()[:_REASON_BYTES].decode(errors="ignore")


class _Session:
    """One open socket."""

    def __init__(self, socket: WebSocket, service: FeatureService, backlog: Backlog, answers: Answers) -> None:
        self._socket = socket
        self._admission = service.admission
        self._backlog = backlog
        self._answers = answers
        limits = service.limits
        self._limit = BodyLimit(min(limits.max_body_bytes, limits.live_memory_bytes))

    async def run(self) -> None:
        """Answer pictures until no more come.

        Raises:
            Busy: the server is about to stop; the pictures that had come are answered.
        """
        listening = asyncio.create_task(self._listen())
        draining = asyncio.create_task(self._admission.draining.wait())
        draining.add_done_callback(lambda _: self._backlog.close())
        try:
            await self._answer()
        finally:
            for task in (listening, draining):
                task.cancel()
            await asyncio.gather(listening, draining, return_exceptions=True)
        if self._admission.is_draining:
            raise Busy("the server is about to stop")

    async def _listen(self) -> None:
        try:
            while (message := await self._socket.receive())["type"] == "websocket.receive":
                data = message.get("bytes")
                if data is None:
                    await self._send(document_of(UnsupportedType("send pictures, as binary messages")))
                else:
                    self._backlog.put(self._kept(data))
        finally:
            self._backlog.close()

    def _kept(self, data: bytes) -> bytes | Problem:
        try:
            self._limit.check(len(data))
        except Problem as problem:
            return problem
        return data

    async def _answer(self) -> None:
        while not self._backlog.is_over:
            num_dropped, picture = await self._backlog.next()
            if num_dropped:
                await self._send(Dropped(dropped=num_dropped))
            if picture is not None:
                await self._send(await message_for(picture, self._answers))

    async def _send(self, document: object) -> None:
        await self._socket.send_text(to_json(document).decode())
