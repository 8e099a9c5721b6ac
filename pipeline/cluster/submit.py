"""A command as a job of a cluster: its words are checked here, its folder uploaded, its log followed to its end.

The job is the same command with ``--address auto``. What the job server stores and shows to all who can reach it is
the command line and the folder's address: no environment variable of this machine goes along.
"""

import asyncio
import contextlib
import logging
import os
import queue
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import stamina
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pipeline.cluster.ray_internals import walk_upload
from pipeline.errors import RunError, UsageError

_REACHED_WITHIN_S = 10.0
_PATIENCE_S = 60.0
_POLL_S = 1.0
_MOST_MIB = 512
"""That Ray's job server takes, compressed."""
_EXCLUDES = [".git", ".venv", "__pycache__", ".env", ".env.*", ".netrc", "*.pem", "*.key", ".aws", ".azure", ".ssh"]
"""What no job needs and many folders hold, keys above all; beside what ``.gitignore`` and ``.rayignore`` name."""
_LOST = (OSError, RuntimeError, RayError, aiohttp.ClientError)
"""What Ray's client raises where the server is away or does not know what to say."""


class JobServer:
    """The job server of a cluster, on its head node."""

    def __init__(self, address: str) -> None:
        """Reach it at ``address``, ``http://HEAD:8265``.

        Raises:
            UsageError: there is none.
        """
        self.address = address.rstrip("/")
        _require_listener(self.address)
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # Ray would take them for the better address
            os.environ.pop(name, None)
        try:
            self._client: Any = JobSubmissionClient(self.address)
        except _LOST as error:
            raise UsageError(f"no Ray job server at {self.address}: {_told(error)}") from None

    def submit(self, words: Sequence[str], *, working_dir: Path) -> "Job":
        """Upload the folder and run ``python -m pipeline WORDS`` in its copy.

        Raises:
            UsageError: the folder is too large.
            RunError: the server does not take the job.
        """
        _require_small(working_dir)
        try:
            submission_id: str = self._client.submit_job(
                entrypoint=shlex.join(["python", "-m", "pipeline", *words]),
                runtime_env={"working_dir": str(working_dir), "excludes": list(_EXCLUDES)},
            )
        except (ValueError, *_LOST) as error:
            raise RunError(f"{self.address} does not take the job: {_told(error)}") from None
        return Job(self._client, address=self.address, submission_id=submission_id)


class Job:
    """A submitted job."""

    def __init__(self, client: Any, *, address: str, submission_id: str) -> None:
        self._client = client
        self.address = address
        self.submission_id = submission_id

    def lines(self) -> Iterator[str]:
        """What it says on stdout and stderr, line by line, until it ends.

        Raises:
            RunError: the server has been away for a minute; the job may go on.
        """
        chunks: queue.Queue[str | RunError | None] = queue.Queue()
        # In a thread of its own: Ctrl-C then interrupts the waiting, and no coroutine half-way.
        threading.Thread(target=lambda: asyncio.run(self._tail(chunks.put)), daemon=True).start()
        rest = ""
        while (more := chunks.get()) is not None:
            if isinstance(more, RunError):
                raise more
            *lines, rest = (rest + more).split("\n")
            yield from lines
        if rest:
            yield rest

    def exit_status(self) -> int:
        """That of the ended command.

        Raises:
            RunError: it did not end by itself: it was stopped, killed, or never started.
        """
        details = self._details()
        status = details.driver_exit_code
        if details.status == JobStatus.STOPPED:
            raise RunError(f"job {self.submission_id} was stopped: submit it again to resume")
        if status is not None and 0 <= status < 128:
            return status
        told = f"its command was killed (exit status {status})" if status is not None else _told(details.message or "")
        raise RunError(f"job {self.submission_id} failed: {told}; submit it again to resume")

    async def _tail(self, put: Callable[[str | RunError | None], None]) -> None:
        """Put the log, once, whatever becomes of the connection; then ``None``."""
        num_shown = 0
        try:
            while True:
                num_seen = 0
                with contextlib.suppress(*_LOST):
                    async for chunk in self._client.tail_job_logs(self.submission_id):  # each time from the beginning
                        num_seen += len(chunk)
                        put(chunk[len(chunk) - max(0, num_seen - num_shown) :])
                        num_shown = max(num_shown, num_seen)
                if self._details().status.is_terminal():
                    break
                await asyncio.sleep(_POLL_S)
        except RunError as error:
            put(error)
        else:
            put(None)

    def _details(self) -> JobDetails:
        try:
            for attempt in stamina.retry_context(
                on=_LOST, attempts=None, timeout=_PATIENCE_S, wait_initial=_POLL_S, wait_max=_POLL_S, wait_jitter=0
            ):
                with attempt:
                    details: JobDetails = self._client.get_job_info(self.submission_id)
        except _LOST as error:
            raise RunError(
                f"{self.address} has not answered for {_PATIENCE_S:.0f} s ({_told(error)}); "
                f"job {self.submission_id} may go on"
            ) from None
        return details


def _require_listener(address: str) -> None:
    """Ray's client would wait for minutes."""
    parts = urlsplit(address)
    try:
        usual = {"http": 80, "https": 443}[parts.scheme]
        port = usual if parts.port is None else parts.port
        host = parts.hostname or ""
        socket.create_connection((host, port), timeout=_REACHED_WITHIN_S).close()
    except (KeyError, ValueError):
        raise UsageError(f"bad --address {address!r}: give the job server's, http://HEAD:8265") from None
    except OSError as error:
        raise UsageError(
            f"no Ray job server at {address}: {error.strerror or error}; is the cluster up, and the way to it open "
            "(ray dashboard cluster.yaml)?"
        ) from None


def _require_small(working_dir: Path) -> None:
    """Before Ray reads every byte of it, which of an archive would take hours."""
    num_bytes = 0

    def add(path: Path) -> None:
        nonlocal num_bytes
        num_bytes += path.lstat().st_size if path.is_file() else 0
        if num_bytes > _MOST_MIB << 20:
            raise UsageError(
                f"{working_dir} holds more than the {_MOST_MIB} MiB that can be uploaded: name what the job does not "
                "need in .rayignore, or give another --working-dir"
            )

    quiet = logging.getLogger("vidlake.upload")
    quiet.disabled = True
    walk_upload(working_dir, excludes=_EXCLUDES, visit=add, logger=quiet)


def _told(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
