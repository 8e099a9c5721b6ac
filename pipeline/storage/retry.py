"""Trying again: what may pass is tried again, and what outlasts that is a storage error."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import stamina

from pipeline.errors import StorageError, Unreadable
from pipeline.storage.addresses import store_of

Result = TypeVar("Result")

_LONGEST_WISH_S = 120.0
"""What a store may ask us to wait by ``Retry-After``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a store may fail before the run does: ``patience_s`` and ``attempts`` must both be used up.

    Waits grow from ``wait_initial_s`` threefold each time, up to ``wait_max_s``, and by up to ``jitter_s`` at random.
    """

    attempts: int = 2
    patience_s: float = 60.0
    wait_initial_s: float = 1.0
    wait_max_s: float = 20.0
    jitter_s: float = 1.0

    def wait_s(self, attempt: int) -> float:
        """How long to wait after the ``attempt``-th attempt, the first being 1."""
        grown_s = self.wait_initial_s * 3.0 ** min(attempt - 1, 20)
        return min(self.wait_max_s, grown_s) + random.uniform(0, self.jitter_s)


DEFAULT_RETRY = RetryPolicy()


class Transient(Exception):
    """A failure that may pass. Its text goes to logs, so it holds no address with secrets.

    Attributes:
        wish_s: how long the store wants to be left alone, if it said so.
    """

    def __init__(self, detail: str, wish_s: float | None = None) -> None:
        super().__init__(detail, wish_s)
        self.detail = detail
        self.wish_s = wish_s

    def __str__(self) -> str:
        return self.detail


class OddAnswer(Transient):
    """An answer about one object that cannot be right. It may pass; one that stays says nothing about the store."""


class NoAnswer(StorageError):
    """Stores failed for longer than a run is patient.

    Attributes:
        failures: of each store that failed, one address, canonical, and what it came to.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        super().__init__(failures)
        self.failures = dict(failures)

    @classmethod
    def of_all(cls, errors: Iterable["NoAnswer"]) -> "NoAnswer":
        """One error for all stores that failed, each named once."""
        failures: dict[str, str] = {}
        for error in errors:
            known = {store_of(uri) for uri in failures}
            failures |= {uri: detail for uri, detail in error.failures.items() if store_of(uri) not in known}
        return cls(failures)

    def __str__(self) -> str:
        what = "; ".join(f"{uri}: {detail}" for uri, detail in self.failures.items())
        who = "the store answers" if len(self.failures) == 1 else "they answer"
        return f"{what}; run the same command again once {who}"


def persistently(call: Callable[[], Result], *, uri: str, retry: RetryPolicy) -> Result:
    """Call until it answers.

    Raises:
        NoAnswer: ``Transient`` failures outlasted ``retry``.
        Unreadable: ``OddAnswer`` did.
    """
    patience = _Patience(policy=retry, began_s=time.monotonic())
    try:
        for attempt in stamina.retry_context(on=patience.next_wait_s, attempts=None, timeout=None):
            with attempt:
                return call()
    except OddAnswer as error:
        raise Unreadable(uri, str(error)) from None
    except Transient as error:
        raise NoAnswer({uri: str(error)}) from None
    raise AssertionError("stamina ends with a result or an error")


@dataclass(slots=True, kw_only=True)
class _Patience:
    """What is left of a policy since the first attempt."""

    policy: RetryPolicy
    began_s: float
    attempts: int = 0

    def next_wait_s(self, error: Exception) -> float | bool:
        """How long to wait before the next attempt; False: there is none."""
        if not isinstance(error, Transient):
            return False
        self.attempts += 1
        is_used_up = time.monotonic() - self.began_s >= self.policy.patience_s
        if is_used_up and self.attempts >= self.policy.attempts:
            return False
        return max(self.policy.wait_s(self.attempts), min(error.wish_s or 0.0, _LONGEST_WISH_S))
