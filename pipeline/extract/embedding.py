"""The way of samples from a decode task to the models: a call at a time, while the task decodes its next segments.

The samples do not pass through Ray Data. Its driver would account for each block of them, 30 MB or a fifth of a second
of a GPU, and would have workers of its own that hand them on. It is given features, which are small.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Protocol

import pyarrow as pa

from pipeline.extract.context import RunContext
from pipeline.extract.operators import decode_block

_CALLS_AT_ONCE = 2
"""That a task has: the samples of the next one are there before the model is done with the last."""
_CALL_BYTES = 32 << 20
"""Of samples in a call, and what a single segment may have beyond it: a task keeps them all in memory."""


class Models(Protocol):
    """What embeds: see ``ModelActors``."""

    def begin(self, samples: pa.Table, *, number: int) -> Future[pa.Table]:
        """Embed the samples of decoded segments; ``number`` is that of the call among those of the task."""


def decode_and_embed(tasks: pa.Table, *, context: RunContext, models: Models) -> Iterator[pa.Table]:
    """``TASKS`` rows to decoded segments with the features of each model."""
    samples = decode_block(tasks, context=context)
    yield from embedded(samples, models=models, samples_per_call=context.sizes.samples_per_call)


def embedded(samples: Iterable[pa.Table], *, models: Models, samples_per_call: int) -> Iterator[pa.Table]:
    """Decoded segments, a table each, to the same with the features of each model, in their order.

    Waits for the models while as many calls as a task may have are under way.
    """
    under_way: deque[Future[pa.Table]] = deque()
    for number, call in enumerate(_calls(samples, samples_per_call=samples_per_call)):
        if len(under_way) == _CALLS_AT_ONCE:
            yield under_way.popleft().result()
        under_way.append(models.begin(call, number=number))
        del call
    while under_way:
        yield under_way.popleft().result()


def _calls(samples: Iterable[pa.Table], *, samples_per_call: int) -> Iterator[pa.Table]:
    """The segments in tables of so many samples or so many bytes, whichever comes first."""
    parts: list[pa.Table] = []
    num_samples = num_bytes = 0
    for part in samples:
        if parts and num_bytes + part.nbytes > _CALL_BYTES:
            yield pa.concat_tables(parts)
            parts, num_samples, num_bytes = [], 0, 0
        parts.append(part)
        num_samples += part["num_samples"][0].as_py()
        num_bytes += part.nbytes
        if num_samples >= samples_per_call:
            yield pa.concat_tables(parts)
            parts, num_samples, num_bytes = [], 0, 0
    if parts:
        yield pa.concat_tables(parts)
