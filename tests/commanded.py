"""``vidlake serve`` as users run it: the command, with Ray Serve under it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import command
import httpx
import psutil
from patience import PATIENCE_S

MODEL = ["--model", "video_cnn", "--weights", "random:0"]


class Server:
    """One ``vidlake serve``."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, said: list[str]) -> None:
        self.process = process
        self.url = url
        self.said = said

    def post(self, path: str, body: bytes, kind: str = "image/png", **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}{path}", content=body, headers={"content-type": kind, **headers}, timeout=PATIENCE_S
        )

    def replica(self) -> psutil.Process:
        """The process that holds the model."""
        return self._titled("ServeReplica:vidlake:vidlake")

    def host_of_streams(self) -> psutil.Process:
        """The process that knows the streams."""
        return self._titled("ServeReplica:vidlake:cameras")

    def _titled(self, title: str) -> psutil.Process:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if title in " ".join(child.cmdline()):
                    return child
        raise AssertionError(f"there is no process {title}")


@contextmanager
def running(*options: object, env: dict[str, str] | None = None) -> Iterator[Server]:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "serve", "--port", str(port), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    said: list[str] = []
    try:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        else:
            raise AssertionError("".join(said))
        yield Server(process, f"http://127.0.0.1:{port}", said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=PATIENCE_S)
            said.append(rest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def refused(*options: object) -> str:
    return command.refused("serve", *options)
