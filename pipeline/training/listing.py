"""What heads there are: every version, its labels and score, and which one is in use."""

from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.publishing.store import MissingFile, Store
from pipeline.models.heads.artifact import read_document
from pipeline.models.heads.files import CURRENT, HEAD_JSON, METRICS, joined
from pipeline.models.heads.registry import Heads, current_bytes, current_in, score_of, versions_in
from pipeline.records.heads import HeadInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersion:
    """A version, as far as it can be read."""

    version: int
    is_current: bool
    kind: str | None
    unit: str | None
    labels: tuple[str, ...]
    score: float | None
    """Balanced accuracy on the test part; ``None``: it has none."""
    problem: str | None
    """Why it cannot be used; ``None``: nothing is known against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHead:
    """A head and its versions, ascending."""

    name: str
    current: int | None
    versions: tuple[ListedVersion, ...]


def list_heads(uri: str) -> list[ListedHead]:
    """The heads in a folder, or the one whose folder it is.

    Raises:
        UsageError: there are none.
        StorageError: the place failed.
    """
    store = backend_at(uri).store
    if versions_in(store, ""):
        return [_head(store, "", name=uri.rstrip("/").rpartition("/")[2])]
    heads = [_head(store, name, name=name) for name in Heads(store).names()]
    if not heads:
        raise UsageError(f"no heads at {store.uri}: vidlake train LAKE --out {uri.rstrip('/')}/NAME makes one")
    return heads


def use_version(uri: str, version: int) -> int | None:
    """Have the head at ``uri`` use another version of its own; returns the one that was in use.

    Raises:
        UsageError: there is no such version.
        StorageError: the place failed.
    """
    store = backend_at(uri).store
    versions = versions_in(store, "")
    if version not in versions:
        has = f"it has {', '.join(map(str, versions[-20:]))}" if versions else "it is no head's folder"
        raise UsageError(f"{store.uri} has no version {version}: {has}")
    listed = _version(store, "", version, current=None)
    if listed.problem is not None:
        raise UsageError(f"{store.uri}/{version} cannot be used: {listed.problem}")
    before = _current(store, "")
    store.publish(CURRENT, current_bytes(version), overwrite=True)
    return before


def _head(store: Store, folder: str, *, name: str) -> ListedHead:
    current = _current(store, folder)
    versions = tuple(_version(store, folder, version, current=current) for version in versions_in(store, folder))
    return ListedHead(name=name, current=current, versions=versions)


def _current(store: Store, folder: str) -> int | None:
    try:
        return current_in(store, folder)
    except UsageError:
        return None  # damaged: --use writes it anew


def _version(store: Store, folder: str, version: int, *, current: int | None) -> ListedVersion:
    place = joined(folder, str(version))
    info: HeadInfo | None = None
    score: float | None = None
    problem: str | None = None
    try:
        info = HeadInfo.from_json(read_document(store, f"{place}/{HEAD_JSON}"))
        score = score_of(read_document(store, f"{place}/{METRICS}"))
    except KeyError as error:
        problem = f"{HEAD_JSON} lacks {error}"
    except (UsageError, MissingFile, TypeError, ValueError) as error:
        problem = str(error)
    return ListedVersion(
        version=version,
        is_current=version == current,
        kind=None if info is None else str(info.kind),
        unit=None if info is None else str(info.unit),
        labels=() if info is None else info.labels,
        score=score,
        problem=problem,
    )
