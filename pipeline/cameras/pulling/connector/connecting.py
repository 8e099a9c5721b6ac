"""Connections to allowed addresses: a name is resolved once, and the number that came out is what is connected to."""

import socket
import ssl

from pipeline.cameras.pulling.ended import EndReason, SourceFailed
from pipeline.cameras.pulling.source import AllowedSources, Origin, SourceRefused

CONNECT_TIMEOUT_S = 10.0


class Connections:
    """Connects to what is allowed, and to nothing else."""

    def __init__(self, allowed: AllowedSources) -> None:
        self._allowed = allowed
        self._numbers: dict[str, list[str]] = {}

    def check(self, origin: Origin) -> None:
        """Make sure that an address may be reached.

        Raises:
            SourceFailed: it may not.
        """
        try:
            self._allowed.check(origin)
        except SourceRefused as error:
            raise SourceFailed(EndReason.REFUSED, str(error)) from None

    def connect(self, origin: Origin) -> socket.socket:
        """A connection, with TLS where the scheme says so.

        Raises:
            SourceFailed: it is not allowed, or cannot be reached.
        """
        self.check(origin)
        complaint = "it has no address"
        for number in self._resolved(origin.host):
            try:
                connection = socket.create_connection((number, origin.port), timeout=CONNECT_TIMEOUT_S)
            except OSError as error:
                complaint = error.strerror or str(error)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._with_tls(connection, origin) if origin.is_encrypted else connection
        raise SourceFailed(EndReason.UNREACHABLE, f"{origin}: {complaint}")

    def _resolved(self, host: str) -> list[str]:
        if host not in self._numbers:
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                detail = getattr(error, "strerror", None) or str(error)
                raise SourceFailed(EndReason.UNREACHABLE, f"{host}: {detail}") from None
            self._numbers[host] = list(dict.fromkeys(str(address[0]) for *_, address in found))
        return self._numbers[host]

    def _with_tls(self, connection: socket.socket, origin: Origin) -> socket.socket:
        try:
            return ssl.create_default_context().wrap_socket(connection, server_hostname=origin.host)
        except (OSError, ssl.CertificateError) as error:
            connection.close()
            reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
            raise SourceFailed(EndReason.UNREACHABLE, f"{origin}: TLS: {reason}") from None
