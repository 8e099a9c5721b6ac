"""``--detect URL``: an HTTP extension of Azure Video Analyzer. A JPEG is posted, objects come back as JSON."""

import asyncio
import logging
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx
import msgspec
from typing_extensions import override

from pipeline.cameras.analysis.detector import DetectionFailed, Detector, Pixels
from pipeline.media.thumbnail_jpeg import encoded
from pipeline.records.geometry import Box, Detection
from pipeline.storage.addresses import canonical_uri

for _name in ("httpx", "httpcore"):  # they log addresses with what is secret in them
    logging.getLogger(_name).setLevel(logging.WARNING)

TIMEOUT_S = 2.0
"""For the whole of an answer: the next pictures are waiting."""

_MOST_BYTES = 1 << 20
"""Of an answer."""

_MOST_OBJECTS = 1000

_LIMITS = httpx.Limits(max_connections=8, max_keepalive_connections=4)


class _Tag(msgspec.Struct):
    value: str
    confidence: float | None = None


class _Box(msgspec.Struct):
    left: float = msgspec.field(name="l")
    top: float = msgspec.field(name="t")
    width: float = msgspec.field(name="w")
    height: float = msgspec.field(name="h")


class _Entity(msgspec.Struct):
    tag: _Tag
    box: _Box


class _Inference(msgspec.Struct):
    """Of any type; those that are no entities are passed over."""

    type: str
    entity: _Entity | None = None


class _Answer(msgspec.Struct):
    inferences: list[_Inference] = []


class ExtensionDetector(Detector):
    """One extension server, asked about pictures over connections that stay open.

    Redirects are not followed: the operator has named this address and no other.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Get ready to ask; nothing is sent yet.

        Args:
            url: ``http`` or ``https``. User info in it is sent as HTTP says, and never shown.
            timeout_s: how long an answer may take, from the first byte sent to the last one received.
        """
        self._url = url
        self._shown = canonical_uri(url)
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=_LIMITS, follow_redirects=False, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @override
    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        jpeg = await asyncio.to_thread(lambda: encoded(picture).jpeg)
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._post(jpeg)
        except (TimeoutError, httpx.TimeoutException):
            raise self._failed(f"no answer within {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise self._failed(f"{type(error).__name__}: {error}") from None
        if status == httpx.codes.NO_CONTENT:
            return ()
        if status != httpx.codes.OK:
            raise self._failed(f"answered with status {status}")
        return self._objects(body)

    @override
    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, jpeg: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "image/jpeg", "accept": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("POST", self._url, content=jpeg, headers=headers) as answer:
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > _MOST_BYTES:
                    raise self._failed(f"the answer is longer than {_MOST_BYTES} bytes")
            return answer.status_code, bytes(body)

    def _objects(self, body: bytes) -> Sequence[Detection]:
        if not body.strip():
            return ()
        try:
            inferences = msgspec.json.decode(body, type=_Answer).inferences
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._failed(f"the answer is not what an extension says: {error}") from None
        entities = [each.entity for each in inferences if each.type == "entity"]
        if len(entities) > _MOST_OBJECTS:
            raise self._failed(f"the answer has {len(entities)} objects")
        if None in entities:
            raise self._failed("the answer has an entity without its tag and box")
        return [found for each in entities if each is not None and (found := _detection_of(each)) is not None]

    def _failed(self, detail: str) -> DetectionFailed:
        return DetectionFailed(f"{self._shown}: {detail}")


def _detection_of(entity: _Entity) -> Detection | None:
    """An object with what of its box lies in the picture; none where nothing does."""
    box, confidence = entity.box, entity.tag.confidence
    left, top = max(0.0, box.left), max(0.0, box.top)
    right, bottom = min(1.0, box.left + box.width), min(1.0, box.top + box.height)
    if not all(map(math.isfinite, (left, top, right, bottom))) or right <= left or bottom <= top:
        return None
    return Detection(
        box=Box(left=left, top=top, width=right - left, height=bottom - top),
        label=entity.tag.value,
        confidence=confidence,
    )
