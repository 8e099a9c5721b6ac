"""``--detect``: what each value means, and a network that several streams share."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from patience import PATIENCE_S

from pipeline.cameras.analysis.choice import DetectorChoice, DetectorKind
from pipeline.cameras.analysis.detector import DetectionFailed, Pixels
from pipeline.cameras.analysis.extension import ExtensionDetector
from pipeline.cameras.analysis.network_detector import NetworkDetector
from pipeline.errors import UsageError
from pipeline.records.geometry import Box, Detection


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("off", DetectorKind.OFF),
        ("motion", DetectorKind.MOTION),
        ("ssdlite320_mobilenet_v3_large", DetectorKind.NETWORK),
        ("http://127.0.0.1:8000/score", DetectorKind.EXTENSION),
        ("https://user:word@example.org/score?x=1", DetectorKind.EXTENSION),
    ],
)
def test_what_detect_means(text: str, kind: DetectorKind) -> None:
    choice = DetectorChoice.parse(text)

    assert (choice.kind, choice.detect) == (kind, text)


@pytest.mark.parametrize(
    "text", ["", "a b", "../x", "ftp://host/", "file:///etc/passwd", "http://", "http://host:99999/", "http://[::1/"]
)
def test_what_detect_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--detect"):
        DetectorChoice.parse(text)


def test_detectors_that_are_opened() -> None:
    async def opened() -> None:
        assert DetectorChoice.parse("off").open() is None
        assert DetectorChoice.parse("motion").open() is None
        extension = DetectorChoice.parse("http://127.0.0.1:1/").open()
        assert isinstance(extension, ExtensionDetector)
        await extension.close()
        with pytest.raises(UsageError, match="no such detector"):
            DetectorChoice.parse("resnet18").open(weights="random:0")

    asyncio.run(opened())


def picture(number: int) -> Pixels:
    return np.full((2, 2, 3), number, np.uint8)


def objects(number: int) -> list[Detection]:
    """As many as the picture's number says."""
    return [Detection(box=Box(left=0, top=0, width=1, height=1), label=str(number), confidence=None)] * number


class Network:
    """Counts what it is shown, and waits until it may answer."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_answer = threading.Event()

    def detect(self, pictures: Sequence[Pixels]) -> list[list[Detection]]:
        self.batches.append(len(pictures))
        self.may_answer.wait(PATIENCE_S)
        return [objects(int(each[0, 0, 0])) for each in pictures]


def test_pictures_of_all_streams_fill_batches_while_the_network_is_busy() -> None:
    async def streams() -> list[Sequence[Detection]]:
        detector = NetworkDetector(network.detect, most_together=4)
        asking = [asyncio.create_task(detector.detect(picture(number))) for number in range(1)]
        while not network.batches:
            await asyncio.sleep(0.001)
        asking += [asyncio.create_task(detector.detect(picture(number))) for number in range(1, 8)]
        await asyncio.sleep(0.01)
        network.may_answer.set()
        answers = list(await asyncio.gather(*asking))
        await detector.close()
        return answers

    network = Network()

    assert [len(answer) for answer in asyncio.run(streams())] == list(range(8))
    assert network.batches == [1, 4, 3]


def test_a_picture_that_nobody_waits_for_any_more_is_not_looked_at() -> None:
    async def streams() -> None:
        detector = NetworkDetector(network.detect, most_together=4)
        first = asyncio.create_task(detector.detect(picture(1)))
        while not network.batches:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(detector.detect(picture(2)))
        await asyncio.sleep(0.01)
        second.cancel()
        network.may_answer.set()
        assert len(await first) == 1
        await detector.close()

    network = Network()
    asyncio.run(streams())

    assert network.batches == [1]


def test_a_fault_of_the_network_reaches_who_asked_and_the_next_picture_is_looked_at() -> None:
    calls = []

    def sometimes(pictures: Sequence[Pixels]) -> list[list[Detection]]:
        calls.append(len(pictures))
        if len(calls) == 1:
            raise MemoryError
        return [[] for _ in pictures]

    async def stream() -> None:
        detector = NetworkDetector(sometimes)
        with pytest.raises(MemoryError):
            await detector.detect(picture(1))
        assert await detector.detect(picture(1)) == []
        await detector.close()
        with pytest.raises(DetectionFailed, match="closed"):
            await detector.detect(picture(1))

    asyncio.run(stream())
