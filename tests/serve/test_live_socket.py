"""``WS /v1/live``: in order, dropped ones counted, a bad picture no more than an answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import websockets
from serving import KEY, Live, encoded, noise, serving
from websockets.asyncio.client import ClientConnection

from serve.settings import Access, Limits, ModelSettings


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving() as running:
        yield running


def talk(
    live: Live, scenario: Callable[[ClientConnection], Awaitable[Any]], *, path: str = "/v1/live", **options: Any
) -> Any:
    async def main() -> Any:
        async with websockets.connect(f"ws://{live.host}{path}", max_size=None, **options) as socket:
            return await scenario(socket)

    return asyncio.run(main())


async def next_message(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 20))
    return message


def test_pictures_are_answered_in_order_with_the_features_of_embed(live: Live) -> None:
    pictures = [encoded(noise(seed=seed)) for seed in range(5)]

    async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
        for picture in pictures:
            await socket.send(picture)
        return [await next_message(socket) for _ in pictures]

    answers = talk(live, scenario)
    assert [answer["seq"] for answer in answers] == [0, 1, 2, 3, 4]
    times = [answer["time_s"] for answer in answers]
    assert times == sorted(times)
    assert times[0] == 0
    for answer, picture in zip(answers, pictures, strict=True):
        [sample] = live.post("/v1/embed", picture).json()["samples"]
        assert np.abs(np.array(answer["feature"]) - sample["feature"]).max() <= 1e-5


def test_labels_come_where_they_are_asked_for(live: Live) -> None:
    async def scenario(socket: ClientConnection) -> dict[str, Any]:
        await socket.send(encoded(noise()))
        return await next_message(socket)

    answer = talk(live, scenario, path="/v1/live?output=labels&top=2")
    assert answer.keys() == {"seq", "time_s", "labels"}
    assert len(answer["labels"]) == 2


def test_client_that_outruns_the_model_hears_of_every_picture() -> None:
    with serving(limits=Limits(live_queue=2, decoders=1)) as slow:
        picture = encoded(np.zeros((3000, 4000, 3), np.uint8))  # soon sent, and long in decoding

        async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
            for _ in range(30):
                await socket.send(picture)
            messages: list[dict[str, Any]] = []
            while sum(message.get("dropped", 1) for message in messages) < 30:
                messages.append(await next_message(socket))
            return messages

        messages = talk(slow, scenario)
    answers = [message for message in messages if "seq" in message]
    assert len(answers) < 30
    assert [answer["seq"] for answer in answers] == sorted({answer["seq"] for answer in answers})
    assert answers[-1]["seq"] == 29


def test_bad_picture_is_an_answer_and_the_next_one_counts(live: Live) -> None:
    async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
        for message in (b"no picture", b"", encoded(noise())[:500], "text", encoded(noise())):
            await socket.send(message)
        return [await next_message(socket) for _ in range(5)]

    answers = talk(live, scenario)
    [text] = [answer for answer in answers if "seq" not in answer]
    assert text["error"]["code"] == "unsupported_type"
    pictures = [answer for answer in answers if "seq" in answer]
    assert [answer["seq"] for answer in pictures] == [0, 1, 2, 3]
    assert [answer["error"]["code"] for answer in pictures[:3]] == ["corrupt"] * 3
    assert len(pictures[3]["feature"]) == 512


def test_stranger_is_turned_away_before_the_socket_opens() -> None:
    with serving(access=Access(), keys=(KEY,)) as guarded:
        for options in (
            {},
            {"subprotocols": ["vidlake.key.wrong"]},
            {"additional_headers": {"authorization": "Bearer x"}},
        ):
            with pytest.raises(websockets.InvalidStatus, match="403"):
                talk(guarded, next_message, **options)

        async def scenario(socket: ClientConnection) -> tuple[str | None, dict[str, Any]]:
            await socket.send(encoded(noise()))
            return socket.subprotocol, await next_message(socket)

        spoken, answer = talk(guarded, scenario, subprotocols=["vidlake", f"vidlake.key.{KEY}"])
        assert (spoken, answer["seq"]) == ("vidlake", 0)


def test_page_of_another_origin_is_turned_away(live: Live) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        talk(live, next_message, origin="https://evil.example")


def test_one_socket_too_many_is_told_to_come_back() -> None:
    with serving(limits=Limits(sockets=1, decoders=1)) as small:

        async def scenario(socket: ClientConnection) -> None:
            await socket.send(encoded(noise()))
            await next_message(socket)
            async with websockets.connect(f"ws://{small.host}/v1/live") as other:
                with pytest.raises(websockets.ConnectionClosed, match="1013"):
                    await other.recv()

        talk(small, scenario)


def test_sockets_use_up_no_room_for_requests_and_leave_none_behind() -> None:
    with serving(limits=Limits(queue=1, sockets=20, decoders=1)) as small:

        async def scenario() -> None:
            sockets = [await websockets.connect(f"ws://{small.host}/v1/live") for _ in range(20)]
            answer = await asyncio.to_thread(small.post, "/v1/embed", encoded(noise()))
            assert answer.status_code == 200
            for socket in sockets[:10]:
                socket.transport.abort()
            for socket in sockets[10:]:
                await socket.close()
            for _ in range(600):
                if small.service.admission.is_idle:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("a socket that is gone is still counted")

        asyncio.run(scenario())


def test_draining_server_answers_what_has_come_and_hangs_up() -> None:
    with serving() as leaving:

        async def scenario(socket: ClientConnection) -> None:
            await socket.send(encoded(noise()))
            assert (await next_message(socket))["seq"] == 0
            leaving.loop.call_soon_threadsafe(leaving.service.admission.draining.set)
            with pytest.raises(websockets.ConnectionClosed, match="1001"):
                await asyncio.wait_for(socket.recv(), 5)

        talk(leaving, scenario)


def test_model_without_classes_has_no_labels_to_send() -> None:
    """A policy violation, said once: trying again would not help."""
    with serving(model=ModelSettings(name="squeezenet1_1", weights="random:0", num_threads=1)) as plain:

        async def scenario(socket: ClientConnection) -> websockets.ConnectionClosed:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 20)
            return closed.value

        closed = talk(plain, scenario, path="/v1/live?output=labels")
        assert closed.rcvd is not None
        assert (closed.rcvd.code, closed.rcvd.reason) == (1008, "squeezenet1_1 has no classes")


def test_output_that_does_not_exist_opens_no_socket(live: Live) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        talk(live, next_message, path="/v1/live?output=anything")


def test_sockets_share_the_memory_of_the_replica() -> None:
    picture = encoded(np.zeros((3000, 4000, 3), np.uint8))  # soon sent, and long in decoding
    limits = Limits(live_memory_bytes=3 * len(picture), live_queue=100, decoders=1)
    with serving(limits=limits) as small:

        async def scenario(socket: ClientConnection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            async with websockets.connect(f"ws://{small.host}/v1/live") as modest:
                for _ in range(20):
                    await socket.send(picture)
                for seed in range(5):
                    await modest.send(encoded(noise(height=20, width=20, seed=seed)))
                many: list[dict[str, Any]] = []
                while sum(message.get("dropped", 1) for message in many) < 20:
                    many.append(await next_message(socket))
                    assert small.service.backlogs.num_bytes <= limits.live_memory_bytes
                return many, [await next_message(modest) for _ in range(5)]

        many, few = talk(small, scenario)
    assert sum(message.get("dropped", 0) for message in many) > 0
    assert [answer["seq"] for answer in many if "seq" in answer][-1] == 19
    assert [answer["seq"] for answer in few] == [0, 1, 2, 3, 4], "who sends little loses nothing"


def test_picture_that_is_too_long_is_an_answer_in_its_turn() -> None:
    with serving(limits=Limits(max_body_bytes=50_000, decoders=1)) as strict:

        async def scenario(socket: ClientConnection) -> list[dict[str, Any]]:
            for message in (encoded(noise()), bytes(50_001), encoded(noise())):
                await socket.send(message)
            return [await next_message(socket) for _ in range(3)]

        answers = talk(strict, scenario)
    assert [answer["seq"] for answer in answers] == [0, 1, 2]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, "body_too_large", None]
