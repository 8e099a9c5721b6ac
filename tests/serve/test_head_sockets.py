"""``WS /v1/live`` by a trained head: each picture, or the last seconds of the socket."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets
from served_heads import put, said, use
from serving import Live, encoded, noise, serving
from websockets.asyncio.client import ClientConnection

from serve.settings import HeadSettings, Limits

PICTURES = [encoded(noise(seed=seed)) for seed in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    put(folder, "frame")
    put(folder, "frame", seed=1, is_in_use=False)
    put(folder, "window", unit="window:2", steps=("delta",), pool=("mean", "std"))
    put(folder, "whole", unit="video")
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    settings = HeadSettings(folder=str(folder), default="window")
    with serving(heads=settings, limits=Limits(decoders=1)) as running:
        yield running


def talk(live: Live, path: str, scenario: Callable[[ClientConnection], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with websockets.connect(f"ws://{live.host}/v1/live{path}", max_size=None) as socket:
            return await scenario(socket)

    return asyncio.run(main())


async def next_message(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 20))
    return message


async def answers_to_all(socket: ClientConnection) -> list[dict[str, Any]]:
    for picture in PICTURES:
        await socket.send(picture)
    return [await next_message(socket) for _ in PICTURES]


@pytest.mark.parametrize("path", ["?head=frame&output=labels", "?head=frame"])
def test_head_of_frames_answers_each_picture(live: Live, path: str) -> None:
    messages = talk(live, path, answers_to_all)
    assert [message["seq"] for message in messages] == list(range(len(PICTURES)))
    for message, picture in zip(messages, PICTURES, strict=True):
        assert message.keys() == {"seq", "time_s", "labels", "head", "version"}
        assert (message["head"], message["version"]) == ("frame", 1)
        [unit] = live.post("/v1/classify?head=frame", picture).json()["units"]
        assert np.abs(said(message["labels"]) - said(unit["labels"])).max() <= 1e-5


def test_each_message_is_by_the_version_of_its_moment(live: Live, folder: Path) -> None:
    async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
        messages = []
        for version in (1, 2, 1):
            use(folder, "frame", version)
            await asyncio.to_thread(live.service.heads.look)
            await socket.send(PICTURES[0])
            messages.append(await next_message(socket))
        return messages

    first, second, third = talk(live, "?head=frame", scenario)
    assert [message["version"] for message in (first, second, third)] == [1, 2, 1]
    assert first["labels"] == third["labels"] != second["labels"]


def slots_of(messages: Sequence[dict[str, Any]]) -> list[int]:
    """Of the head's five windows a second."""
    return [math.floor(message["time_s"] * 5 + 1e-9) for message in messages]


@pytest.mark.parametrize("path", ["?head=window", "?output=labels"], ids=["named", "the default one"])
def test_head_of_windows_answers_for_the_last_seconds_and_repeats_between_them(live: Live, path: str) -> None:
    async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
        """Two pictures at a time, until slots of one and of several pictures and some slots have come."""
        messages: list[dict[str, Any]] = []
        while not 2 < len(set(slots_of(messages))) < len(messages):
            assert len(messages) < 400
            for number in range(2):  # no two pictures are the same, or another window might have the same answer
                await socket.send(encoded(noise(seed=1000 + len(messages) + number)))
            messages += [await next_message(socket), await next_message(socket)]
            await asyncio.sleep(0.06)
        return messages

    messages = talk(live, path, scenario)
    slots = slots_of(messages)
    assert {message["head"] for message in messages} == {"window"}
    for before, message, slot_before, slot in zip(messages, messages[1:], slots, slots[1:], strict=False):
        if slot == slot_before:
            assert message["labels"] == before["labels"], "not the first picture of its fifth of a second"
        else:
            assert message["labels"] != before["labels"]


def test_default_head_is_for_labels_and_leaves_features_as_they_are(live: Live) -> None:
    [message, *_] = talk(live, "", answers_to_all)
    assert len(message["feature"]) == 512


def test_bad_picture_is_an_answer_and_the_next_one_counts(live: Live) -> None:
    async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
        for body in (b"no picture", PICTURES[0]):
            await socket.send(body)
        return [await next_message(socket) for _ in range(2)]

    bad, good = talk(live, "?head=window", scenario)
    assert bad["error"]["code"] == "corrupt"
    assert good["labels"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("?head=whole&output=labels", "whole videos", id="a head of videos"),
        pytest.param("?head=nobody", "unknown head 'nobody'", id="no such head"),
        pytest.param("?head=" + "n" * 200, "unknown head", id="a name beyond a frame's room"),
        pytest.param("?head=frame&output=feature", "a head gives labels", id="features of a head"),
    ],
)
def test_socket_that_no_head_can_answer_is_closed_with_the_reason(live: Live, path: str, reason: str) -> None:
    async def scenario(socket: ClientConnection) -> websockets.ConnectionClosed:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 20)
        return closed.value

    closed = talk(live, path, scenario)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1008
    assert reason in closed.rcvd.reason


def test_head_that_goes_away_costs_the_pictures_that_want_it_and_not_the_socket(live: Live, folder: Path) -> None:
    put(folder, "passing")
    live.service.heads.look()

    async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
        messages = []
        for source, target in (("passing", "passing"), ("passing", ".passing"), (".passing", "passing")):
            (folder / source).rename(folder / target)
            await asyncio.to_thread(live.service.heads.look)
            await socket.send(PICTURES[0])
            messages.append(await next_message(socket))
        return messages

    first, second, third = talk(live, "?head=passing", scenario)
    assert second["error"]["code"] == "not_found"
    assert first["labels"] == third["labels"]
