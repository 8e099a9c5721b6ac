"""What the streams of this server may reach: their sources, extensions and recordings, as the operator allows."""

import os
import re
from typing import NamedTuple

from pipeline.cameras.pulling.source import AllowedSources, Credentials, Source, SourceRefused, parsed_address
from pipeline.errors import UsageError
from pipeline.records.streams import StreamSpec
from serve.cameras.requests import StreamRequest, read_streams_file
from serve.problems import Forbidden, Problem
from serve.settings import CameraSettings


class Checked(NamedTuple):
    """A stream that may be started."""

    spec: StreamSpec
    source: Source


class Sources:
    """Turns what a stream is asked for with into what is watched, if that is allowed."""

    def __init__(self, cameras: CameraSettings) -> None:
        """Read the patterns.

        Raises:
            UsageError: one is none.
        """
        self._allowed = AllowedSources.parse(cameras.allowed_sources)
        self._recordings = cameras.record

    def of_the_file(self, request: StreamRequest) -> Checked:
        """A stream that the operator named: it may reach its own scheme, host and port, and record anywhere.

        Raises:
            UsageError: its source is none, or it is to be recorded and nothing says where.
        """
        try:
            source = self._source(request, self._allowed.with_own(request.source))
        except UsageError as error:
            raise UsageError(f"stream {request.name}: {error}") from None
        if request.record is True and self._recordings is None:
            raise UsageError(f"stream {request.name}: record says no folder, and neither does --record")
        record = request.record if isinstance(request.record, str) else self._recordings if request.record else None
        return Checked(request.spec(shown_source=source.uri, record=record), source)

    def of_a_post(self, request: StreamRequest) -> Checked:
        """A stream that a client asks for: it may reach what ``--allow-source`` admits, and record below ``--record``.

        Raises:
            Forbidden: it may not.
            Problem: its source is no address.
        """
        try:
            source = self._source(request, self._allowed)
            if ":" in request.detect:
                origin, _, _ = parsed_address(request.detect)
                self._allowed.check(origin)
        except SourceRefused as error:
            raise Forbidden(str(error)) from None
        except UsageError as error:
            raise Problem(str(error)) from None
        return Checked(request.spec(shown_source=source.uri, record=self._posted_recordings(request.record)), source)

    def _source(self, request: StreamRequest, allowed: AllowedSources) -> Source:
        return Source.parse(request.source, allowed=allowed, credentials=_credentials(request))

    def _posted_recordings(self, record: bool | str) -> str | None:
        if record is False:
            return None
        if self._recordings is None:
            raise Forbidden("this server records nothing: start it with --record URI")
        if record is True:
            return self._recordings
        base = self._recordings.rstrip("/")
        is_below = record.rstrip("/") == base or record.startswith(f"{base}/")
        if not is_below or ".." in re.split(r"[/\\]", record):
            raise Forbidden("recordings go below the server's --record alone")
        return record


def check_cameras(cameras: CameraSettings) -> None:
    """Make sure that the patterns and the streams file can be used, before anything is started.

    Raises:
        UsageError: one cannot.
    """
    sources = Sources(cameras)
    if cameras.streams_file is not None:
        for request in read_streams_file(cameras.streams_file):
            sources.of_the_file(request)


def _credentials(request: StreamRequest) -> Credentials | None:
    """Those of the request itself or, without any, of the stream's variables; otherwise the address may hold some."""
    prefix = f"VIDLAKE_STREAM_{re.sub(r'[^A-Z0-9]', '_', request.name.upper())}"
    given = None if request.password is None else request.password.get_secret_value()
    user = request.user if request.user is not None else os.environ.get(f"{prefix}_USER")
    password = given if given is not None else os.environ.get(f"{prefix}_PASSWORD")
    return None if user is None and password is None else Credentials(user=user or "", password=password or "")
