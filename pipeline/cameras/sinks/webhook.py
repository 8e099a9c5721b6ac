"""Events to a webhook: one a request, at once, in order, signed, tried again, at least once."""

from pipeline.records.events import Event


class Webhook:
    """Posts events as JSON to an address, on a thread of its own.

    A cursor in the lake (``_vidlake/webhooks``) remembers the last event of each stream that was acknowledged with a
    status of 200 to 299; what came later, and is in the lake, is sent first after a restart. The first webhook of an
    address begins with what comes from then on.
    """

    def __init__(self, url: str, *, lake: str, secret: str | None) -> None:
        """Begin to send.

        Args:
            url: ``http://`` or ``https://``.
            lake: the dataset, which has been created.
            secret: each body is signed with it: ``X-Vidlake-Signature: sha256=HEX``; ``None``: none is.

        Raises:
            UsageError: the address is none.
            StorageError: the cursor cannot be read or written.
        """
        raise NotImplementedError

    @property
    def error(self) -> str | None:
        """Why the last event was not taken, in one line without the address's secrets; ``None``: it was."""
        raise NotImplementedError

    def send(self, event: Event) -> None:
        """Take an event. Never blocks."""
        raise NotImplementedError

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Send what is left, as far as the time allows; the rest waits in the lake for the next start."""
        raise NotImplementedError
