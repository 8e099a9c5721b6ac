"""Events to a webhook: one a request, at once, in order, signed, tried again, at least once."""

import hashlib
import hmac
import json
import logging
import random
import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx

from pipeline.cameras.sinks.cursor import Cursor, stored_behind
from pipeline.errors import RunError, UsageError
from pipeline.records.events import Event

SIGNATURE = "X-Vidlake-Signature"
SECRET_VARIABLE = "VIDLAKE_WEBHOOK_SECRET"
"""The variable that holds what posts are signed with."""

_LOG = logging.getLogger(__name__)
_REQUEST_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_WAIT_AT_END_S = 0.5
_LONGEST_WISH_S = 120.0
"""What a receiver may ask us to wait by ``Retry-After``."""
_SAVE_S = 2.0
"""How long what was acknowledged is known in memory alone: what a kill loses of it is sent again."""
_MOST_WAITING = 10_000
"""Events in memory; those beyond are read from the lake once the receiver answers again."""
_COMMIT_S = 2.0
"""How often the lake is asked for events that are not committed yet."""


def signature_of(body: bytes, *, secret: str) -> str:
    """What stands in the header ``X-Vidlake-Signature``: the HMAC of the body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


class Webhook:
    """Posts events as JSON to an address, on a thread of its own.

    A cursor in the lake (``_vidlake/webhooks``) remembers the last event of each stream that was acknowledged with a
    status of 200 to 299; what came later, and is in the lake, is sent first after a restart. The first webhook of an
    address begins with what comes from then on. An event that is refused is sent again until it is taken, and no later
    one is sent before it.
    """

    def __init__(self, url: str, *, lake: str, secret: str | None) -> None:
        """Begin to send.

        Args:
            url: ``http://`` or ``https://``.
            lake: the dataset; a new one need not exist yet.
            secret: each body is signed with it; ``None``: none is.

        Raises:
            UsageError: the address is none.
            StorageError: the cursor cannot be read or written.
        """
        self._receiver = _receiver_of(url)
        self._url = url
        self._lake = lake
        self._secret = secret
        self._began_at = datetime.now(UTC)
        self._cursor = Cursor.load(lake, url, now=self._began_at)
        self._saved_at = time.monotonic()
        self._is_saved = True
        self._sent_from_lake: set[str] = set()
        self._error: str | None = None
        self._waiting: deque[Event] = deque()
        self._left_out: dict[str, str] = {}  # of each stream, the last event that memory had no room for
        self._deadline: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        """Why the last event was not taken, in one line without the address's secrets; ``None``: it was."""
        return self._error

    def send(self, event: Event) -> None:
        """Take an event. Never blocks."""
        with self._changed:
            if self._left_out or len(self._waiting) >= _MOST_WAITING:
                self._left_out[event.stream] = event.event_id
            else:
                self._waiting.append(event)
            self._changed.notify_all()

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Send what is left, as far as the time allows; the rest waits in the lake for the next start."""
        with self._changed:
            self._deadline = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s + 1)
        if self._error is not None:
            _LOG.warning("--events: %s; what it has not taken is sent at the next start", self._error)

    def _work(self) -> None:
        with httpx.Client(follow_redirects=False) as client:
            self._send_stored(client)
            while (event := self._next()) is not None:
                if event.event_id not in self._sent_from_lake:
                    self._deliver(client, event)
                if not self._waiting and self._left_out:
                    self._catch_up(client)
        self._save()

    def _next(self) -> Event | None:
        """The next event; ``None``: no more are to be sent."""
        while True:
            with self._changed:
                if self._waiting and not self._is_over():
                    return self._waiting.popleft()
                if self._deadline is not None:
                    return None
                self._changed.wait(None if self._is_saved else _SAVE_S)
            self._save_when_due()

    def _deliver(self, client: httpx.Client, event: Event) -> bool:
        """Send an event until it is taken; false where time was up before."""
        body = json.dumps(event.to_json()).encode()
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            headers[SIGNATURE] = signature_of(body, secret=self._secret)
        wait_s = _FIRST_WAIT_S
        while not self._is_over():
            was_well = self._error is None
            wish_s = self._attempt(client, body, headers)
            if was_well and self._error is not None:
                _LOG.warning("--events: %s; events wait, and are sent once it takes them", self._error)
            if wish_s is None:
                self._cursor.acknowledge(event)
                self._is_saved = False
                self._save_when_due()
                return True
            self._wait(max(wish_s, wait_s * random.uniform(0.8, 1.2)))
            wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)
        return False

    def _attempt(self, client: httpx.Client, body: bytes, headers: dict[str, str]) -> float | None:
        """Post once; ``None``: it was taken; else how long the receiver wants to be left alone."""
        left_s = _REQUEST_S if self._deadline is None else self._deadline - time.monotonic()
        try:
            timeout = httpx.Timeout(max(0.1, min(_REQUEST_S, left_s)))
            answer = client.post(self._url, content=body, headers=headers, timeout=timeout)
        except httpx.HTTPError as error:  # its text may quote the address
            self._error = f"{self._receiver} does not answer ({type(error).__name__})"
            return 0.0
        if answer.is_success:
            self._error = None
            return None
        self._error = f"{self._receiver} answers {answer.status_code}"
        wish = answer.headers.get("Retry-After", "")
        return min(float(wish), _LONGEST_WISH_S) if wish.isascii() and wish.isdigit() else 0.0

    def _send_stored(self, client: httpx.Client) -> bool:
        """Send what the lake holds behind the cursor; false where the lake cannot be read, or time was up."""
        try:
            for event in stored_behind(self._cursor, self._lake):
                if not self._deliver(client, event):
                    return False
                # Such events may come by ``send`` as well.
                if event.captured_at > self._began_at - timedelta(minutes=1):
                    self._sent_from_lake.add(event.event_id)
        except RunError as error:
            self._error = " ".join(str(error).split())
            return False
        return True

    def _catch_up(self, client: httpx.Client) -> None:
        """Send from the lake what memory had no room for, once it is committed there."""
        while not self._is_over():
            self._send_stored(client)
            with self._changed:
                acknowledged = self._cursor.acknowledged
                if all(acknowledged.get(stream, "") >= last for stream, last in self._left_out.items()):
                    self._left_out.clear()
                    return
            self._wait(_COMMIT_S)

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _wait(self, seconds: float) -> None:
        """Wait; once the webhook is being closed, hardly."""
        until = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._deadline is not None, seconds)
        if self._deadline is not None:
            now = time.monotonic()
            time.sleep(max(0.0, min(until - now, _WAIT_AT_END_S, self._deadline - now)))

    def _save_when_due(self) -> None:
        if not self._is_saved and time.monotonic() - self._saved_at >= _SAVE_S:
            self._save()

    def _save(self) -> None:
        if self._is_saved:
            return
        self._saved_at = time.monotonic()
        try:
            self._cursor.save(self._lake)
            self._is_saved = True
        except RunError as error:
            self._error = " ".join(str(error).split())


def _receiver_of(url: str) -> str:
    """What may be shown of an address.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        host = port = None
    if not host or parts.scheme.lower() not in ("http", "https"):
        raise UsageError("bad --events: use -, a file, or an address http://... or https://...")
    return f"{parts.scheme.lower()}://{host}{'' if port is None else f':{port}'}"
