"""The server's application behind a plain HTTP server, in this process: everything of it is real but Ray."""

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from patience import PATIENCE_S
from PIL import Image

from serve.cameras.remote import Cameras
from serve.inference.service import FeatureService
from serve.metrics import Metrics
from serve.routes import create_app
from serve.settings import Access, HeadSettings, Limits, ModelSettings, Settings
from serve.web.security import ApiKeys

VIDEO_CNN = ModelSettings(name="video_cnn", weights="random:0", num_threads=1)
KEY = "a-key-of-some-length"
NO_HEADS = HeadSettings()
LOCAL = Access(is_loopback=True)


@dataclass(frozen=True, slots=True)
class Live:
    """A server that answers."""

    url: str
    service: FeatureService
    loop: asyncio.AbstractEventLoop

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def post(self, path: str, body: bytes, kind: str = "image/png", **headers: str) -> httpx.Response:
        sent = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(f"{self.url}{path}", content=body, headers=sent, timeout=PATIENCE_S)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE_S)


@contextmanager
def serving(
    *,
    limits: Limits | None = None,
    access: Access = LOCAL,
    keys: tuple[str, ...] = (),
    admin_keys: tuple[str, ...] = (),
    model: ModelSettings = VIDEO_CNN,
    heads: HeadSettings = NO_HEADS,
    streams: Cameras | None = None,
    lake: str | None = None,
) -> Iterator[Live]:
    """Serve on a free port of the loopback address."""
    settings = Settings(model=model, heads=heads, limits=limits or Limits(decoders=1), access=access, lake=lake)
    metrics = Metrics()
    service = FeatureService(settings, metrics=metrics)
    app = create_app(service, settings, keys=ApiKeys(keys, admin_keys=admin_keys), metrics=metrics, cameras=streams)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2))
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve([listener])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Live(f"http://127.0.0.1:{listener.getsockname()[1]}", service, loop)
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            # In a thread of its own: a browser's driver has a loop that goes on in this one.
            ending = threading.Thread(target=_end, args=(loop,))
            ending.start()
            ending.join(timeout=10)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):  # of libraries, which would wait for ever
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def noise(*, height: int = 90, width: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    """RGB ``uint8[height, width, 3]``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    """A picture file; WebP without loss."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}), **options)
    return out.getvalue()
