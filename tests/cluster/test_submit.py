"""Jobs of a cluster: what is refused before it travels, what travels, and what comes back."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from clusters import ROOT, LocalCluster
from conftest import ClipFactory
from lakes import MODEL, features, started, statuses, vidlake
from patience import PATIENCE_S
from ray._private.runtime_env.packaging import create_package
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pipeline.cli.main import cli
from pipeline.cluster import submit
from pipeline.cluster.submit import _EXCLUDES, Job, JobServer, _require_small
from pipeline.errors import RunError, UsageError

OWN_MODEL = """
from torch import nn

class Net(nn.Module):
    preprocessing = {"resize_px": 32, "crop_px": (32, 32)}

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 7, 3)

    def forward(self, pictures):
        return self.layer(pictures).mean((2, 3))
"""


def refusal(*words: object) -> str:
    """Of words that the job server, which is not there, would otherwise be blamed for."""
    done = CliRunner().invoke(cli, ["submit", "--address", "http://127.0.0.1:9", *map(str, words)])
    assert done.exception is not None
    return getattr(done.exception, "message", "") or str(done.exception) + done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["plan", "/a.mp4"], "extract, retry, predict, finetune or shots", id="a command that is no job"),
        pytest.param(["extract", "/a.mp4"], "--out", id="no out"),
        pytest.param(["extract", "/a.mp4", "--out", "/o", "--sample", "fps:0"], "fps:R", id="bad rule"),
        pytest.param(["extract", "/a.mp4", "--out", "/o", "--address", "auto"], "--address", id="two addresses"),
        pytest.param(["extract", "/a.mp4", "--out", "lake"], "lost with the job", id="a dataset inside the job"),
        pytest.param(["retry", "lake"], "lost with the job", id="a dataset inside the job, retried"),
        pytest.param(
            ["predict", "lake", "--head", "/h/x", "--out", "/o"], "lost with the job", id="a lake inside the job"
        ),
        pytest.param(
            ["predict", "/l", "--head", "/h/x", "--out", "o"], "lost with the job", id="predictions inside the job"
        ),
        pytest.param(
            ["predict", "/l", "--head", "heads/x@2", "--out", "/o"],
            "no such head",
            id="a head that does not come along",
        ),
        pytest.param(["predict", "/l", "--head", "/h/x", "--out", "/o", "--since", "now"], "--since", id="no time"),
        pytest.param(["extract", "videos/", "--out", "/o"], "path of this machine", id="videos of this machine"),
        pytest.param(["extract", "list.csv", "--out", "/o"], "working dir", id="a manifest that would not be there"),
        pytest.param(["extract", "https://h/a.mp4?sig=abc", "--out", "/o"], "signature", id="a signed address"),
        pytest.param(
            ["finetune", "/a", "--labels", "l.csv", "--out", "/o"], "working dir", id="labels that are not there"
        ),
        pytest.param(
            ["finetune", "/a", "--labels", "/l.csv", "--out", "o"], "lost with the job", id="weights in the job"
        ),
        pytest.param(
            ["finetune", "a/", "--labels", "/l.csv", "--out", "/o"], "path of this machine", id="clips of this one"
        ),
        pytest.param(["finetune", "/a", "--labels", "/l.csv", "--out", "/o"], "no Ray job server", id="a training"),
        pytest.param(["extract", "/a.mp4", "--out", "/o"], "no Ray job server", id="nothing wrong but the server"),
    ],
)
def test_slip_is_told_before_anything_is_sent(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(*words)
    assert told in said
    assert "abc" not in said


def test_relative_paths_are_those_of_the_working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "list.csv").write_text("uri\n/a.mp4\n")
    (tmp_path / "job" / "config.yaml").write_text("sample: fps:2\n")
    monkeypatch.chdir(tmp_path)
    words = ["extract", "list.csv", "--config", "config.yaml", "--out", "/o"]
    assert "list.csv" in refusal(*words) or "config.yaml" in refusal(*words)
    assert "no Ray job server" in refusal("--working-dir", "job", *words)


@pytest.mark.parametrize("address", ["localhost:8265", "ray://localhost:10001", "auto", "http://localhost:99999"])
def test_address_that_is_no_job_servers_says_what_one_looks_like(address: str) -> None:
    with pytest.raises(UsageError, match="http://HEAD:8265"):
        JobServer(address)


def test_server_that_is_no_job_server_is_told() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with pytest.raises(UsageError, match="no Ray job server"):
            JobServer(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def uploaded(folder: Path, target: Path) -> set[str]:
    create_package(str(folder), target, include_gitignore=True, excludes=list(_EXCLUDES))
    return set(zipfile.ZipFile(target).namelist())


def test_upload_of_this_project_is_small_and_whole(tmp_path: Path) -> None:
    names = uploaded(ROOT, tmp_path / "package.zip")
    # The code alone, which Ray does not compress.
    code_bytes = sum(path.stat().st_size for room in ("pipeline", "serve") for path in (ROOT / room).rglob("*.py"))
    assert (tmp_path / "package.zip").stat().st_size < 1.5 * code_bytes
    assert {name.split("/")[0] for name in names} <= {"pipeline", "serve", "pyproject.toml", ".gitignore", ".rayignore"}
    assert names >= {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline").rglob("*.py")}


def test_keys_beside_the_code_are_not_uploaded(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    for name in ("model.py", ".env", ".env.local", "tls.key", "me.pem", ".aws/credentials", ".azure/token", ".git/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    assert {name for name in uploaded(folder, tmp_path / "package.zip") if not name.endswith("/")} == {"model.py"}


def test_folder_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "film.mp4", "wb") as file:
        file.truncate(600 << 20)
    with pytest.raises(UsageError, match="rayignore"):
        _require_small(tmp_path)
    (tmp_path / ".rayignore").write_text("*.mp4\n")
    _require_small(tmp_path)


def ended(client: JobSubmissionClient, submission_id: str) -> JobDetails:
    while not client.get_job_status(submission_id).is_terminal():
        time.sleep(0.2)
    return client.get_job_info(submission_id)


@pytest.fixture
def job(tmp_path: Path, clips: ClipFactory) -> Path:
    """A folder as users have: a model of their own, and a manifest of two videos, one of them none."""
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "own_model.py").write_text(OWN_MODEL)
    (folder / "noise.mp4").write_bytes(b"no video" * 100)
    (folder / "list.csv").write_text(f"uri\n{clips(num_frames=100)}\n{folder / 'noise.mp4'}\n")
    return folder


@pytest.mark.slow
def test_submitted_job_runs_in_the_uploaded_folder_returns_its_status_and_resumes(
    job: Path, tmp_path: Path, two_nodes: LocalCluster
) -> None:
    out = tmp_path / "lake"
    submit = ["submit", "--address", two_nodes.job_server, "--working-dir", job]
    extract = ["extract", "list.csv", "--out", out, "--model", "own_model:Net", "--strict"]
    first = json.loads(vidlake(*submit, *extract, "--json", status=3).stdout)
    assert first["num_samples"] == 4
    assert sorted(statuses(out).values()) == ["failed", "ok"]
    again = vidlake(*submit, *extract, status=3)
    assert "2 videos: 1 ok, 0 partial, 1 failed" in again.stdout
    assert "this run: 0 samples" in again.stdout
    assert len(features(out)) == 4
    other = vidlake(*submit, *extract, "--sample", "fps:2", status=2)
    assert "made with other settings: --sample" in other.stdout


@pytest.mark.soak
def test_interrupted_client_leaves_the_job_running_and_says_how_to_stop_it(
    clips: ClipFactory, tmp_path: Path, two_nodes: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "do-not-tell")
    submit = ["submit", "--address", two_nodes.job_server, "--working-dir", tmp_path]
    extract = ["extract", clips(num_frames=300, gop=25), "--out", tmp_path / "lake", *MODEL, "--sample", "all"]
    process = started(*submit, *extract, "--segment-seconds", "1", stderr=subprocess.PIPE)
    assert process.stderr is not None
    submission_id = process.stderr.readline().split()[1]
    client = JobSubmissionClient(two_nodes.job_server)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert f"ray job stop {submission_id}" in said
    info = client.get_job_info(submission_id)
    assert not info.status.is_terminal()
    assert "do-not-tell" not in str(info)
    client.stop_job(submission_id)
    assert ended(client, submission_id).status == JobStatus.STOPPED
    detached = vidlake(*submit, "--detach", *extract, "--segment-seconds", "1").stdout.strip()
    assert ended(client, detached).driver_exit_code == 0, client.get_job_logs(detached)
    assert len(features(tmp_path / "lake")) == 300


@pytest.mark.soak
def test_rays_own_command_submits_this_folder(clips: ClipFactory, tmp_path: Path, two_nodes: LocalCluster) -> None:
    ray = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", two_nodes.job_server]
    words = ["extract", clips(num_frames=100), "--out", tmp_path / "lake", *MODEL, "--address", "auto"]
    command = [*ray, "--working-dir", ROOT, "--", "python", "-m", "pipeline", *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 videos: 1 ok" in done.stdout
    assert len(features(tmp_path / "lake")) == 4


class Tunnel:
    """The way to a port, as ``ray dashboard`` opens it; it may break, and be there again."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def break_off(self) -> int:
        """Cut every connection; returns how many there were."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(self._ends) // 2

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.break_off()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                self._begin(self._pass_on, near, far)
                self._begin(self._pass_on, far, near)

    def _begin(self, work: Callable[..., None], *ends: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=ends, daemon=True))
        self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def tunnel(port: int) -> Iterator[Tunnel]:
    opened = Tunnel(port)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.soak
def test_broken_connection_costs_no_line_and_tells_none_twice(
    clips: ClipFactory, tmp_path: Path, two_nodes: LocalCluster
) -> None:
    with tunnel(two_nodes.dashboard_port) as way:
        submit = ["submit", "--address", way.address, "--working-dir", tmp_path]
        words = ["extract", clips(num_frames=300), "--out", tmp_path / "lake", *MODEL, "--sample", "all"]
        with started(*submit, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            submission_id = process.stderr.readline().split()[1]
            seen = [process.stdout.readline() for _ in range(3)]
            assert way.break_off() > 0
            seen += process.stdout.readlines()
            assert process.wait(timeout=PATIENCE_S) == 0
    log = JobSubmissionClient(two_nodes.job_server).get_job_logs(submission_id)
    assert "".join(seen) == log


class _Away:
    """A job server that does not answer the first few questions."""

    def __init__(self, *, num_failures: int) -> None:
        self.num_failures = num_failures

    def get_job_info(self, submission_id: str) -> JobDetails:
        if self.num_failures:
            self.num_failures -= 1
            raise ConnectionError("away")
        return JobDetails(type="SUBMISSION", status=JobStatus.FAILED, entrypoint="", driver_exit_code=3)


def test_a_job_server_may_be_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "_POLL_S", 0.01)
    assert Job(_Away(num_failures=5), address="http://head:8265", submission_id="one").exit_status() == 3
    monkeypatch.setattr(submit, "_PATIENCE_S", 0.05)
    with pytest.raises(RunError, match=r"http://head:8265 has not answered for .*away.*job one may go on"):
        Job(_Away(num_failures=1000), address="http://head:8265", submission_id="one").exit_status()
