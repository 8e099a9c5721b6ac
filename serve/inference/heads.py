"""The heads beside the model: which version of each answers, and how another takes its place unnoticed."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.errors import RunError, StorageError, UsageError
from pipeline.models.preprocess import use_one_thread
from serve.inference.head_folder import HeadFolder, InUse, ServedHead
from serve.problems import Conflict, NotFound, StoreFailed

LOOK_EVERY_S = 2.0
State = Literal["ready", "behind", "unused", "broken"]
_LOG = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStatus:
    """What the server knows of one head of its folder."""

    name: str
    served: ServedHead | None = None
    """The version that answers; ``None``: none does."""
    in_use: InUse | None = None
    mark: str | None = None
    problem: str | None = None

    @property
    def state(self) -> State:
        """``behind``: the version in use does not load, and the one before it goes on answering."""
        if self.served is None:
            return "unused" if self.problem is None else "broken"
        return "ready" if self.problem is None else "behind"


class Shelf:
    """The heads of a folder, loaded and watched.

    Everybody reads one mapping, which is replaced whole: a request that took its head at its start keeps that version
    to its end, whatever is chosen meanwhile, and waits for nothing.
    """

    def __init__(self, folder: HeadFolder | None) -> None:
        """Load the heads of ``folder``; ``None``: there are none.

        Raises:
            StorageError: the store failed.
        """
        self._folder = folder
        self._heads: Mapping[str, HeadStatus] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._is_failing = False
        if folder is not None:
            self._update(folder)

    def statuses(self) -> list[HeadStatus]:
        """All heads of the folder, those included that cannot answer, by name."""
        return list(self._heads.values())

    def names(self) -> list[str]:
        """The heads that answer."""
        return [status.name for status in self.statuses() if status.served is not None]

    def head(self, name: str) -> ServedHead:
        """The version of a head that answers now.

        Raises:
            NotFound: there is no such head.
            Conflict: it cannot answer.
        """
        status = self._heads.get(name)
        if status is None:
            raise NotFound(f"unknown head {name!r}: {_listed(self.names())}")
        if status.served is None:
            raise Conflict(f"head {name}: {status.problem or 'no version of it is in use'}")
        return status.served

    def watch(self) -> None:
        """Look for changes from now on, in a thread, until ``close``."""
        if self._folder is not None:
            threading.Thread(target=self._watch, args=(self._folder,), name="heads", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()

    def look(self) -> None:
        """Take up what has changed in the folder; where the store fails, what is loaded stays as it is."""
        if self._folder is None:
            return
        try:
            with self._lock:
                errors = self._update(self._folder)
        except StorageError as error:
            errors = [error]
        if errors and not self._is_failing:
            _LOG.warning("the heads cannot be looked at; loaded ones go on", extra={"detail": str(errors[0])})
        self._is_failing = bool(errors)

    def use(self, name: str, version: int) -> HeadStatus:
        """Choose the version that answers, here at once and everywhere else soon.

        Raises:
            NotFound: there is no such head, or no such version.
            Conflict: the version does not fit; nothing was written.
            StoreFailed: the store failed.
        """
        folder = self._folder
        if folder is None:
            raise NotFound("the server has no heads: start it with --heads")
        try:
            with self._lock:
                return self._use(folder, name, version)
        except StorageError as error:
            _LOG.warning("a head was not chosen", extra={"head": name, "detail": str(error)})
            raise StoreFailed("the store of the heads failed; try again") from None

    def _use(self, folder: HeadFolder, name: str, version: int) -> HeadStatus:
        if name not in self._heads:
            raise NotFound(f"unknown head {name!r}: {_listed(list(self._heads))}")
        versions = folder.versions(name)
        if version not in versions:
            raise NotFound(f"head {name} has no version {version}: {_listed(list(map(str, versions)))}")
        in_use = folder.as_in_use(name, version)
        try:
            served = _loaded(folder, name, version)
        except UsageError as error:
            raise Conflict(f"head {name}, version {version}: {_public(error, folder)}") from None
        folder.use(name, version)
        # Without a mark, the next look reads what was chosen since: this version, or one that somebody else chose.
        status = HeadStatus(name=name, served=served, in_use=in_use)
        self._put(name, status)
        return status

    def _watch(self, folder: HeadFolder) -> None:
        use_one_thread()  # the others belong to the model
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 (without the next look, nothing would ever change again)
                _LOG.exception("the heads of %s could not be looked at", folder.uri)

    def _update(self, folder: HeadFolder) -> list[StorageError]:
        """Take up what has changed; a store that fails over one head does not stop the others."""
        names, errors = folder.names(), []
        for name in names:
            before = self._heads.get(name)
            try:
                self._put(name, _seen(folder, name, before))
            except StorageError as error:
                errors.append(error)
                if before is None or before.served is None:
                    known = before or HeadStatus(name=name)
                    self._put(name, replace(known, problem="the store of the heads failed over it"))
        self._heads = {name: status for name, status in self._heads.items() if name in names}
        return errors

    def _put(self, name: str, status: HeadStatus | None) -> None:
        """Replace what is known of one head; ``None``: there is no such head."""
        before = self._heads.get(name)
        others = {other: known for other, known in self._heads.items() if other != name}
        self._heads = dict(sorted((others if status is None else {**others, name: status}).items()))
        if status is not None:
            _note(status, before=before)


def _seen(folder: HeadFolder, name: str, before: HeadStatus | None) -> HeadStatus | None:
    """What is to be known of a head by now; ``None``: the folder of that name holds none.

    Raises:
        StorageError: the store failed.
    """
    mark = folder.mark(name)
    if mark is None:
        is_head = (before is not None and before.state == "unused") or folder.versions(name)
        return HeadStatus(name=name) if is_head else None
    before = before or HeadStatus(name=name)
    if mark == before.mark and before.problem is None:
        return before
    try:
        in_use = folder.in_use(name)
    except UsageError as error:
        return _with_problem(replace(before, mark=mark, in_use=None), _public(error, folder))
    if in_use is None:  # it was taken away this moment
        return before
    if in_use == before.in_use:
        return replace(before, mark=mark)
    before = replace(before, mark=mark, in_use=in_use)
    try:
        served = _loaded(folder, name, in_use.version)
    except UsageError as error:
        return _with_problem(before, f"version {in_use.version}: {_public(error, folder)}")
    return replace(before, served=served, problem=None)


def _note(status: HeadStatus, *, before: HeadStatus | None) -> None:
    """Say in the log, once, what is new about a head."""
    served, problem = status.served, status.problem
    facts = {"head": status.name, "version": served.version if served else None}
    if problem is not None and (before is None or before.problem != problem):
        _LOG.warning("a head has a problem", extra={**facts, "problem": problem})
    if served is not None and (before is None or before.served is not served):
        _LOG.info("a head answers", extra={**facts, "digest": served.digest})


def _loaded(folder: HeadFolder, name: str, version: int) -> ServedHead:
    try:
        return folder.load(name, version)
    except RunError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever is in one folder, the other heads answer)
        _LOG.warning("a head does not load", extra={"head": name, "version": version}, exc_info=error)
        raise UsageError(f"it does not load: {type(error).__name__}") from None


def _with_problem(status: HeadStatus, problem: str) -> HeadStatus:
    if status.served is not None:
        problem = f"{problem}; version {status.served.version} goes on answering"
    return replace(status, problem=problem)


def _public(error: RunError, folder: HeadFolder) -> str:
    """The message, without where the folder is."""
    return str(error).replace(f"{folder.uri.rstrip('/')}/", "").replace(folder.uri, "the folder of heads")


def _listed(names: list[str]) -> str:
    if not names:
        return "there is none"
    return f"there is {', '.join(names[:20])}{' and more' if len(names) > 20 else ''}"
