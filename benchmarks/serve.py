"""The server under load, beside a bare loop over the same decoding and model, and beside LitServe.

    python -m benchmarks.serve [--peers PYTHON] [--model resnet50] [--seconds 20] [--clients 16] [--json FILE]

Everything runs on the same cores, one thing after another, round and round; medians are printed. What the load
generator uses of the CPU is taken out: a server's wall time counts less the generator's CPU time over the cores. What
each process of a server uses of it, for a request, is printed as well: it holds on a machine with other work too.
LitServe runs in the peers' environment, which ``make bench`` makes; without ``--peers`` it is left out.
"""

import argparse
import asyncio
import io
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

CORES = len(os.sched_getaffinity(0))
WEIGHTS = "random:0"
PROCESSES = {
    "replica": "ServeReplica",
    "proxy": "ProxyActor",
    "controller": "ServeController",
    "decoders": "pipeline.media.process",
    "raylet": "raylet/raylet",
    "GCS": "gcs_server",
    "LitServe": "litserve",
}
"""What a process of a server is known by, in its command line; all others are ``rest``."""


def pictures(count: int = 8) -> list[bytes]:
    """JPEGs of 1280 x 720, smooth as photographs are."""
    made = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (18, 32, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(coarse).resize((1280, 720), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def bare_loop(model: str, *, seconds: float, batch_size: int) -> dict[str, float]:
    """Decode and embed in one process: pictures a second, and the median seconds of a batch."""
    from pipeline.models.embedder import Embedder
    from pipeline.models.preprocess import prepare
    from pipeline.models.registry import load_model

    embedder = Embedder(load_model(model, weights=WEIGHTS), batch_size=batch_size, num_threads=CORES)
    embedder.warm_up()
    bodies, times = pictures(), []
    preprocessing = embedder.info.preprocessing
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        batch = [
            prepare(np.array(Image.open(io.BytesIO(body)).convert("RGB")), preprocessing=preprocessing)
            for body in (bodies * batch_size)[:batch_size]
        ]
        embedder.embed([np.stack(batch)])
        times.append(time.monotonic() - began)
    return {"per_second": batch_size * len(times) / sum(times), "median_s": statistics.median(times)}


async def _load(url: str, *, seconds: float, clients: int) -> dict[str, float]:
    bodies, refusals = pictures(), 0
    latencies: list[float] = []
    is_form = url.endswith("/predict")  # of LitServe, which takes no other binary bodies

    async def post(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
        if is_form:
            return await client.post(url, files={"file": ("a.jpg", body, "image/jpeg")})
        return await client.post(url, content=body, headers={"content-type": "image/jpeg"})

    async def one(client: httpx.AsyncClient, index: int) -> None:
        nonlocal refusals
        while time.monotonic() < end:
            began = time.monotonic()
            answer = await post(client, bodies[index % 8])
            if answer.status_code == 200:
                latencies.append(time.monotonic() - began)
            else:
                refusals += 1
                await asyncio.sleep(0.1)

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        (await post(client, bodies[0])).raise_for_status()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu, began = usage.ru_utime + usage.ru_stime, time.monotonic()
        end = began + seconds
        await asyncio.gather(*(one(client, index) for index in range(clients)))
        wall = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    own_s = usage.ru_utime + usage.ru_stime - cpu
    return {
        "per_second": len(latencies) / (wall - own_s / CORES),
        "per_second_raw": len(latencies) / wall,
        "median_s": statistics.median(latencies),
        "p99_s": sorted(latencies)[int(0.99 * len(latencies))],
        "refused": refusals,
        "answers": len(latencies),
    }


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _cpu_s(server: psutil.Process) -> dict[str, float]:
    """CPU seconds that the living processes of a server have used, by what they are."""
    used: dict[str, float] = {}
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            name = next((name for name, sign in PROCESSES.items() if sign in words), "rest")
            times = process.cpu_times()
            used[name] = used.get(name, 0) + times.user + times.system
    return used


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers, and how long it took until then."""

    url: str
    process: psutil.Process
    ready_s: float


@contextmanager
def _process(command: list[str], *, ready: str, url: str) -> Iterator[Running]:
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=Path.cwd()
    )
    try:
        for _ in range(2400):
            try:
                if httpx.get(ready, timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        else:
            raise SystemExit(f"{command} does not answer")
        yield Running(url=url, process=psutil.Process(process.pid), ready_s=time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def vidlake(model: str) -> Iterator[Running]:
    """``vidlake serve``."""
    port = _free_port()
    words = ["--model", model, "--weights", WEIGHTS, "--port", str(port)]
    command, home = [sys.executable, "-m", "pipeline", "serve", *words], f"http://127.0.0.1:{port}"
    with _process(command, ready=f"{home}/readyz", url=f"{home}/v1/embed") as running:
        yield running


@contextmanager
def litserve(model: str, *, python: Path) -> Iterator[Running]:
    """LitServe with the same decoding and model, batching as its documentation advises."""
    port = _free_port()
    command = [str(python), "-m", "benchmarks.peers.litserve", model, WEIGHTS, str(port)]
    home = f"http://127.0.0.1:{port}"
    with _process(command, ready=f"{home}/health", url=f"{home}/predict") as running:
        yield running


def in_a_process(function: Callable[..., dict[str, float]], *args: Any, **options: Any) -> dict[str, float]:
    """Run one measurement where no other has left threads or memory behind."""
    code = (
        f"import json; from benchmarks.serve import {function.__name__} as f; "
        f"print(json.dumps(f(*{args!r}, **{options!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(
    model: str, *, seconds: float, clients: int, rounds: int, peers: Path | None
) -> dict[str, dict[str, float]]:
    """Medians over the rounds, of each contender."""
    found: dict[str, list[dict[str, float]]] = {}
    servers: dict[str, Callable[[str], AbstractContextManager[Running]]] = {"vidlake": vidlake}
    if peers is not None:
        servers["litserve"] = partial(litserve, python=peers)
    for _ in range(rounds):
        for size in (1, 8, 32):
            row = in_a_process(bare_loop, model, seconds=seconds, batch_size=size)
            found.setdefault(f"bare loop, batches of {size}", []).append(row)
        for name, server in servers.items():
            with server(model) as running:
                for count in (1, clients):
                    row = _loaded(running, seconds=seconds, clients=count)
                    found.setdefault(f"{name}, {count} clients", []).append(row)
    return {
        name: {key: statistics.median(row.get(key, 0) for row in rows) for row in rows for key in row}
        for name, rows in found.items()
    }


def _loaded(running: Running, *, seconds: float, clients: int) -> dict[str, float]:
    """One measurement, with the CPU time that a request costs each kind of process."""
    before = _cpu_s(running.process)
    row = asyncio.run(_load(running.url, seconds=seconds, clients=clients))
    used = {name: cpu_s - before.get(name, 0) for name, cpu_s in _cpu_s(running.process).items()}
    costs = {f"cpu_ms {name}": 1e3 * cpu_s / row["answers"] for name, cpu_s in used.items()}
    return {**row, "ready_s": running.ready_s, "cpu_ms": sum(costs.values()), **costs}


def _costs(row: dict[str, float]) -> str:
    if "cpu_ms" not in row:
        return ""
    prefix = "cpu_ms "
    parts = {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
    each = ", ".join(f"{name} {parts[name]:.1f}" for name in sorted(parts, key=lambda name: -parts[name]))
    return f"  ready in {row['ready_s']:.1f} s, CPU ms a request {row['cpu_ms']:.1f}: {each}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, help="the Python of the peers' environment")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    peers = None if asked.peers is None else asked.peers.absolute()
    figures = measure(asked.model, seconds=asked.seconds, clients=asked.clients, rounds=asked.rounds, peers=peers)
    for name, row in figures.items():
        print(f"{name:<26} {row['per_second']:7.1f}/s  median {row['median_s'] * 1e3:7.1f} ms{_costs(row)}")
    best = max(row["per_second"] for name, row in figures.items() if name.startswith("bare"))
    full = figures[f"vidlake, {asked.clients} clients"]["per_second"]
    alone = figures["vidlake, 1 clients"]["median_s"] - figures["bare loop, batches of 1"]["median_s"]
    print(f"\nvidlake / best bare loop {full / best:.2f}, one client alone {alone * 1e3:+.1f} ms over the bare loop")
    if f"litserve, {asked.clients} clients" in figures:
        print(f"vidlake / LitServe {full / figures[f'litserve, {asked.clients} clients']['per_second']:.2f}")
    if asked.json:
        asked.json.write_text(json.dumps({"cores": CORES, "model": asked.model, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
