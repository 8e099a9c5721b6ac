"""Who the videos of a list are now: local files one by one, remote ones asked ahead and side by side."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.errors import Unreadable
from pipeline.inputs.manifests import Entry
from pipeline.inputs.sources import Source
from pipeline.storage.addresses import canonical_uri, is_local
from pipeline.storage.reader import Identity
from pipeline.storage.retry import NoAnswer, RetryPolicy
from pipeline.storage.schemes import stat

_STAT_THREADS = 32
_STATS_AHEAD = 4 * _STAT_THREADS


def identified(entries: Iterator[Entry | Unreadable], *, retry: RetryPolicy) -> Iterator[Source]:
    """A source for each entry, in their order; what is not there has a ``failure``.

    Raises:
        NoAnswer: stores failed, after retries; all those are named that were being asked.
    """
    pool = ThreadPoolExecutor(_STAT_THREADS, thread_name_prefix="stat")
    ahead: deque[Future[Source] | Source] = deque()
    try:
        for entry in entries:
            if isinstance(entry, Unreadable):
                ahead.append(_failed(Entry(locator=entry.uri, columns={}), entry))
            elif entry.identity is not None or is_local(entry.locator):
                ahead.append(_source(entry, retry=retry))
            else:
                ahead.append(pool.submit(_source, entry, retry=retry))
            while ahead and (len(ahead) > _STATS_AHEAD or _is_ready(ahead[0])):
                yield _next(ahead)
        while ahead:
            yield _next(ahead)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _source(entry: Entry, *, retry: RetryPolicy) -> Source:
    try:
        identity = entry.identity or stat(entry.locator, retry=retry)
    except Unreadable as error:
        return _failed(entry, error)
    return Source(
        uri=canonical_uri(entry.locator),
        locator=entry.locator,
        identity=identity,
        start_s=entry.start_s,
        end_s=entry.end_s,
        failure=None,
        columns=entry.columns,
    )


def _failed(entry: Entry, error: Unreadable) -> Source:
    return Source(
        uri=canonical_uri(entry.locator),
        locator=entry.locator,
        identity=Identity(),
        start_s=entry.start_s,
        end_s=entry.end_s,
        failure=(error.reason, error.detail),
        columns=entry.columns,
    )


def _is_ready(pending: Future[Source] | Source) -> bool:
    return isinstance(pending, Source) or pending.done()


def _next(ahead: deque[Future[Source] | Source]) -> Source:
    """The first result; where its store does not answer, the error names all stores that do not."""
    pending = ahead.popleft()
    try:
        return pending if isinstance(pending, Source) else pending.result()
    except NoAnswer as error:
        # What is being asked by now has as little patience left; what is not yet asked need not be.
        asked = [other for other in ahead if isinstance(other, Future) and not other.cancel()]
        errors = [other.exception() for other in asked]
        raise NoAnswer.of_all([error, *(each for each in errors if isinstance(each, NoAnswer))]) from None
