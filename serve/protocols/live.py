"""``WS /v1/live``: the client sends encoded pictures and gets one JSON message for each, in order."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from serve.inference.backlogs import Backlog, Picture
from serve.inference.labels import Label
from serve.inference.service import FeatureService
from serve.problems import Busy, ErrorBody, Problem, UnsupportedType, document_of
from serve.protocols.features import Vector
from serve.protocols.parameters import Service, Top
from serve.web.bodies import BodyLimit
from serve.web.replies import to_json
from serve.web.security import answered_subprotocol

router = APIRouter()
# The codes of RFC 6455 with which a socket is closed.
_GOING_AWAY, _POLICY_VIOLATION, _TRY_AGAIN_LATER = 1001, 1008, 1013


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The number of pictures that were dropped since the last message."""

    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMessage:
    """The feature of one picture."""

    seq: int
    time_s: float
    feature: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsMessage:
    """The most probable classes of one picture."""

    seq: int
    time_s: float
    labels: list[Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMessage:
    """Why one picture has no answer."""

    seq: int
    time_s: float
    error: ErrorBody


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
            with service.admission.socket(), service.backlogs.opened() as backlog:
                num_labels = top if output == "labels" else 0
                await _Session(socket, service, backlog, num_labels=num_labels).run()
        except Busy as problem:
            code = _GOING_AWAY if service.admission.is_draining else _TRY_AGAIN_LATER
            await socket.close(code, reason=problem.message)
        except Problem as problem:
            await socket.close(_POLICY_VIOLATION, reason=problem.message)


class _Session:
    """One open socket."""

    def __init__(self, socket: WebSocket, service: FeatureService, backlog: Backlog, *, num_labels: int) -> None:
        self._socket = socket
        self._service = service
        self._backlog = backlog
        self._num_labels = num_labels
        limits = service.limits
        self._limit = BodyLimit(min(limits.max_body_bytes, limits.live_memory_bytes))

    async def run(self) -> None:
        """Answer pictures until no more come.

        Raises:
            Busy: the server is about to stop; the pictures that had come are answered.
        """
        if self._num_labels:
            self._service.require_classes()
        admission = self._service.admission
        listening = asyncio.create_task(self._listen())
        draining = asyncio.create_task(admission.draining.wait())
        draining.add_done_callback(lambda _: self._backlog.close())
        try:
            await self._answer()
        finally:
            for task in (listening, draining):
                task.cancel()
            await asyncio.gather(listening, draining, return_exceptions=True)
        if admission.is_draining:
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
                await self._send(await self._message(picture))

    async def _message(self, picture: Picture) -> FeatureMessage | LabelsMessage | ErrorMessage:
        seq, time_s = picture.seq, picture.time_s
        try:
            if isinstance(picture.content, Problem):
                raise picture.content
            features = await self._service.still(picture.content)
            if not self._num_labels:
                return FeatureMessage(seq=seq, time_s=time_s, feature=features[0])
            ranking = await self._service.ranking(features, top=self._num_labels)
            return LabelsMessage(seq=seq, time_s=time_s, labels=ranking.labels(0))
        except Problem as problem:
            return ErrorMessage(seq=seq, time_s=time_s, error=document_of(problem).error)

    async def _send(self, document: object) -> None:
        await self._socket.send_text(to_json(document).decode())
