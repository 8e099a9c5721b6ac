"""Trying again: what may pass is tried again, and what outlasts that is a storage error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from pipeline.errors import StorageError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a store may fail before the run does.

    Waits grow from ``wait_initial_s`` threefold each time, up to ``wait_max_s``. No attempt starts once
    ``timeout_s`` have passed; ``None``: only ``attempts`` count.
    """

    attempts: int = 5
    timeout_s: float | None = 60.0
    wait_initial_s: float = 1.0
    wait_max_s: float = 20.0
    jitter_s: float = 1.0


DEFAULT_RETRY = RetryPolicy()


class Transient(Exception):
    """A failure that may pass. Its text goes to logs, so it holds no address with secrets."""


def persistently(call: Callable[[], Result], *, uri: str, retry: RetryPolicy) -> Result:
    """Call until it answers.

    Raises:
        StorageError: ``Transient`` failures outlasted ``retry``.
    """
    try:
        for attempt in stamina.retry_context(
            on=Transient,
            attempts=retry.attempts,
            timeout=retry.timeout_s,
            wait_initial=retry.wait_initial_s,
            wait_max=retry.wait_max_s,
            wait_jitter=retry.jitter_s,
            wait_exp_base=3,
        ):
            with attempt:
                return call()
    except Transient as error:
        raise StorageError(f"{uri}: {error}; run the same command again once the store answers") from None
    raise AssertionError("stamina ends with a result or an error")
