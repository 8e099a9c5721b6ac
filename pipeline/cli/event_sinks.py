"""Where ``--events`` sends what happens: a file, or a webhook."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable

from pipeline.cameras.sinks.webhook import SECRET_VARIABLE, Webhook
from pipeline.errors import StorageError, UsageError
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.records.events import Event
from pipeline.storage.addresses import is_local, local_path

Send = Callable[[Event], None]


@contextlib.asynccontextmanager
async def event_sink(where: str | None, *, lake: str, info: DatasetInfo) -> AsyncIterator[Send]:
    """What takes events while the context is open; ``-`` and ``None`` are stdout's affair.

    Args:
        where: as ``--events`` says.
        lake: which remembers what a webhook has acknowledged; it is made if need be.
        info: the configuration of the lake.

    Raises:
        UsageError: the file cannot be opened, or the address is none.
        StorageError: the file or the lake cannot be written.
    """
    if where is None or where == "-":
        yield lambda event: None
    elif is_local(where):
        with _EventFile(local_path(where)) as file:
            yield file.send
    else:
        await asyncio.to_thread(Dataset.at(lake).create, info)
        webhook = await asyncio.to_thread(Webhook, where, lake=lake, secret=os.environ.get(SECRET_VARIABLE))
        try:
            yield webhook.send
        finally:
            await asyncio.to_thread(webhook.close)


class _EventFile:
    """A file that grows by a JSON line an event, each there at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed by the context
        except OSError as error:
            raise UsageError(f"--events {path}: {error.strerror}") from None

    def __enter__(self) -> "_EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def send(self, event: Event) -> None:
        try:
            self._file.write(f"{json.dumps(event.to_json(), ensure_ascii=False)}\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(f"--events {self._path}: {error.strerror}") from None
