"""A real Ray cluster of several nodes on this machine, begun with ``ray start``, and gone again afterwards."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import ray
import yaml
from patience import PATIENCE_S
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

ROOT = Path(__file__).resolve().parents[1]
_OBJECT_STORE_BYTES = 200_000_000
_STARTS = 3  # Ray gives up after half a minute, which a busy machine may need
_HOLDS_A_RAY = """
import sys
import ray

for trial in range(int(sys.argv[1])):
    try:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        break
    except Exception:
        ray.shutdown()
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
_ON_ONE_MACHINE = {
    "type": "external",
    "module": "mortal_nodes.MortalNodes",
    **dict.fromkeys(("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check"), True),
}
_OF_OTHER_PROVIDERS: dict[str, Any] = {
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands")},
    **{name: [] for name in ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
    "idle_timeout_minutes": 5,
    "upscaling_speed": 1.0,
    "cluster_synced_files": [],
}
"""What the autoscaler looks for in every configuration."""


@dataclass(slots=True)
class Node:
    """One node: a process that holds Ray's own ones."""

    LOG: ClassVar = "start.log"

    process: "subprocess.Popen[bytes]"
    folder: Path

    def log(self) -> str:
        """What Ray said when it started."""
        return (self.folder / self.LOG).read_text()

    def family(self) -> list[psutil.Process]:
        """Its processes."""
        whole = psutil.Process(self.process.pid)
        return [*whole.children(recursive=True), whole]

    def raylet(self) -> psutil.Process:
        """The one that makes it a node."""
        [found] = [process for process in self.family() if process.name() == "raylet"]
        return found

    def stop(self) -> None:
        """End it, and whatever it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = self.family()
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, timeout=PATIENCE_S)
        self.process.wait()


@dataclass(slots=True)
class LocalCluster:
    """A head and further nodes, each with one CPU."""

    folder: Path
    port: int
    dashboard_port: int
    nodes: list[Node] = field(default_factory=list)
    _num_started: int = 0

    @property
    def address(self) -> str:
        """Of the cluster, for ``--address``."""
        return f"127.0.0.1:{self.port}"

    @property
    def job_server(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start_head(self, *words: str, num_cpus: int = 1, environment: Mapping[str, str] | None = None) -> None:
        head = ["--head", f"--port={self.port}", "--include-dashboard=true", "--dashboard-host=127.0.0.1"]
        ports = [f"--dashboard-port={self.dashboard_port}"]
        self._add(*head, *ports, *words, num_cpus=num_cpus, environment=environment or {})

    def add_node(self) -> Node:
        return self._add(f"--address={self.address}", num_cpus=1, environment={})

    def remove(self, node: Node) -> None:
        node.stop()
        self.nodes.remove(node)
        deadline = time.monotonic() + PATIENCE_S
        while self.num_alive() > len(self.nodes):  # missed heartbeats tell, half a minute later
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def num_alive(self) -> int:
        try:
            answer = httpx.get(f"{self.job_server}/nodes?view=summary", timeout=PATIENCE_S)
            summary = answer.json()["data"]["summary"]
        except (httpx.HTTPError, ValueError, KeyError):
            return 0
        return sum(node["raylet"].get("state") == "ALIVE" for node in summary)

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.stop()

    def _add(self, *words: str, num_cpus: int, environment: Mapping[str, str]) -> Node:
        """Start a node, and again where Ray gives up."""
        for _ in range(_STARTS):
            node = self._started(*words, num_cpus=num_cpus, environment=environment)
            self.nodes.append(node)
            if self._is_up(node):
                return node
            self.remove(node)
        raise AssertionError(node.log())

    def _started(self, *words: str, num_cpus: int, environment: Mapping[str, str]) -> Node:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        sizes = [f"--num-cpus={num_cpus}", f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        ports = ["--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}"]
        # A folder each, as on machines of their own: a node unpacks what was uploaded over what another has.
        folder = self.folder / str(self._num_started)
        folder.mkdir()
        self._num_started += 1
        # ``python`` of a job's entrypoint is this one.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with open(folder / Node.LOG, "wb") as log:
            process = subprocess.Popen(
                [*command, *sizes, *ports, f"--temp-dir={folder}", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, **environment},
                start_new_session=True,
            )
        return Node(process, folder)

    def _is_up(self, newest: Node) -> bool:
        """Wait for the newest node; ``False``: Ray gave up."""
        deadline = time.monotonic() + PATIENCE_S
        while self.num_alive() < len(self.nodes):
            if newest.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, newest.log()
            time.sleep(0.2)
        return True


@contextlib.contextmanager
def ray_of_two_cpus() -> Iterator[str]:
    """The address of a Ray of two CPUs; it has no dashboard, whose ten processes would cost as much as a run."""
    command = [sys.executable, "-c", _HOLDS_A_RAY, str(_STARTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "it does not start"
        yield address
        process.stdin.close()


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """This process as a driver of a Ray that is there."""
    ray.init(address=address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def local_cluster(*, num_nodes: int) -> Iterator[LocalCluster]:
    """A cluster of this many nodes."""
    with _no_nodes() as cluster:
        cluster.start_head()
        for _ in range(num_nodes - 1):
            cluster.add_node()
        yield cluster


@contextlib.contextmanager
def growing_cluster(node_types: Mapping[str, tuple[dict[str, int], int]]) -> Iterator[LocalCluster]:
    """A head without a CPU and Ray's autoscaler, which starts up to so many nodes of each type, with its resources."""
    with _no_nodes() as cluster:
        types = {
            name: {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": count}
            for name, (resources, count) in node_types.items()
        }
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        config = {
            "cluster_name": "growing",
            "provider": {**_ON_ONE_MACHINE, "gcs_address": cluster.address},
            "available_node_types": {"ray.head.default": head, **types},
            "head_node_type": "ray.head.default",
            "max_workers": sum(count for _, count in node_types.values()),
            **_OF_OTHER_PROVIDERS,
        }
        (cluster.folder / "growing.yaml").write_text(yaml.safe_dump(config))
        environment = {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            "PYTHONPATH": str(Path(__file__).parent),
        }
        cluster.start_head(
            f"--autoscaling-config={cluster.folder / 'growing.yaml'}", num_cpus=0, environment=environment
        )
        yield cluster


@contextlib.contextmanager
def _no_nodes() -> Iterator[LocalCluster]:
    # Ray's sockets lie in it, whose paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="vl-"))
    cluster = LocalCluster(folder=folder, port=free_port(), dashboard_port=free_port())
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port to listen on, of those that no outgoing connection is given while Ray is still starting."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
