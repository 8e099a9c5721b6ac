"""``evaluate --live``: a server's answers for the videos of a part, held against the batch.

It is asked over HTTP, as any client would, and told apart from the batch by nothing but the way that pictures take.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, RunError, UsageError
from pipeline.lake.known_videos import video_parts
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.head import Answers
from pipeline.models.heads.registry import LoadedVersion
from pipeline.records.documents import Document, document_of, number, part, parts, text, whole
from pipeline.storage.reader import Reader, video_id
from pipeline.storage.retry import DEFAULT_RETRY, Transient, persistently
from pipeline.storage.schemes import locator_of, open_reader, stat
from pipeline.training.examples import VideoExamples

KEY_VARIABLE = "VIDLAKE_API_KEY"
_TIMEOUT = httpx.Timeout(connect=10, read=600, write=60, pool=None)
_MOST_LABELS = 1000
"""Of a unit that a server gives at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveComparison:
    """How far a server's answers are from the batch."""

    url: str
    num_videos: int
    num_units: int
    left_out: Mapping[str, int]
    """Videos that were not compared, by the reason."""
    largest_difference: float | None
    """Of a probability; ``None``: nothing was compared."""

    def to_json(self) -> Document:
        """As it stands in the document of ``evaluate``."""
        return {
            "url": self.url,
            "videos": self.num_videos,
            "units": self.num_units,
            "left_out": dict(self.left_out),
            "largest_difference": self.largest_difference,
        }

    def __str__(self) -> str:
        """In one line."""
        out = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        left_out = f"; {sum(self.left_out.values())} videos left out ({out})" if out else ""
        if self.largest_difference is None:
            return f"{self.url}: no video was compared{left_out}"
        return (
            f"{self.url}: largest difference {self.largest_difference:.1e} "
            f"over {self.num_units} units of {self.num_videos} videos{left_out}"
        )


class LiveHead:
    """A head at a server, which answers by the very version that is measured."""

    def __init__(self, url: str, loaded: LoadedVersion, client: httpx.Client) -> None:
        """Ask the server what it is; see ``live_head``."""
        self._url = url
        self._loaded = loaded
        self._client = client
        limits = part(self._get("/v1/models"), "limits")
        self._max_bytes = whole(limits, "max_body_bytes")
        self._max_duration_s = number(limits, "max_duration_s")
        self._max_samples = whole(limits, "max_samples")
        self._require_version()

    def compare(self, videos: Iterable[VideoExamples], lake: LakeFeatures) -> LiveComparison:
        """Post videos, each whole and sampled as the lake is, and hold all of their units against the batch.

        Raises:
            UsageError: the datasets of the lake were sampled in different ways.
            RunError: the server fails, or another version was put to use meanwhile.
            StorageError: a store, or the server, does not answer.
        """
        ranges = _videos_with_a_range(lake)
        left_out: Counter[str] = Counter()
        num_videos = num_units = 0
        largest = 0.0
        for video in videos:
            try:
                answer = self._answer(video, sample=lake.sample, has_range=video.video_id in ranges)
                expected = self._loaded.head.answer(video.features, video.samples)
                largest = max(largest, self._difference(answer, expected))
            except _LeftOut as reason:
                left_out[str(reason)] += 1
                continue
            num_videos += 1
            num_units += len(expected.units)
        return LiveComparison(
            url=self._url,
            num_videos=num_videos,
            num_units=num_units,
            left_out=dict(sorted(left_out.items())),
            largest_difference=largest if num_videos else None,
        )

    def _difference(self, answer: Document, expected: Answers) -> float:
        difference = largest_difference(
            parts(answer, "units"),
            times_s=expected.units.time_s,
            probabilities=expected.probabilities,
            labels=self._loaded.head.info.labels,
        )
        if difference is None:
            raise _LeftOut("of other samples")
        return difference

    def _answer(self, video: VideoExamples, *, sample: str, has_range: bool) -> Document:
        if has_range:
            raise _LeftOut("of a range")  # a server sees the whole
        ends = video.samples.end_s or 0.0
        if ends > self._max_duration_s or len(video.samples) > self._max_samples:
            raise _LeftOut("too_long")
        return self._posted(self._content(video), sample=sample)

    def _content(self, video: VideoExamples) -> bytes:
        locator = locator_of(video.uri)
        try:
            if video_id(video.uri, stat(locator)) != video.video_id:
                raise _LeftOut("changed")
            with closing(open_reader(locator)) as reader:
                return self._read(reader)
        except InputError as error:
            raise _LeftOut(error.reason) from None

    def _read(self, reader: Reader) -> bytes:
        if reader.size_bytes > self._max_bytes:
            raise _LeftOut("body_too_large")
        return reader.read_at(0, reader.size_bytes)

    def _posted(self, content: bytes, *, sample: str) -> Document:
        loaded = self._loaded
        top = min(len(loaded.head.info.labels), _MOST_LABELS)
        parameters = {"head": loaded.name, "sample": sample, "top": str(top)}

        def post() -> httpx.Response:
            try:
                answer = self._client.post("/v1/classify", params=parameters, content=content, headers=_BINARY)
            except httpx.HTTPError as error:
                raise Transient(str(error) or type(error).__name__) from None
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                raise Transient(_message(answer))
            return answer

        answer = persistently(post, uri=self._url, retry=DEFAULT_RETRY)
        if answer.status_code in _ABOUT_THE_VIDEO:
            raise _LeftOut(_code(answer))
        if answer.status_code != httpx.codes.OK:
            raise RunError(f"{self._url}: {answer.status_code}: {_message(answer)}")
        document = document_of(answer.json(), name="the answer")
        if text(document, "digest") != loaded.head.digest:
            raise RunError(f"{self._url}: another version of {loaded.name} was put to use; run the same command again")
        return document

    def _require_version(self) -> None:
        loaded = self._loaded
        served = {text(head, "name"): head for head in parts(self._get("/v1/heads"), "heads")}
        head = served.get(loaded.name)
        if head is None:
            raise UsageError(f"--live {self._url}: it serves no head {loaded.name}; start it with --heads")
        if head["digest"] is None:
            raise UsageError(f"--live {self._url}: head {loaded.name} does not answer: {head.get('problem')}")
        if text(head, "digest") != loaded.head.digest:
            raise UsageError(
                f"--live {self._url}: it answers by {loaded.name}@{head['version']}, and {loaded} is measured: "
                "give the version that it uses, or use the other one there"
            )

    def _get(self, path: str) -> Document:
        answer = self._client.get(path)
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise UsageError(f"--live {self._url}: {_message(answer)}; {KEY_VARIABLE} holds the key that is sent")
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"{path}: {answer.status_code}")
        return document_of(answer.json(), name=path)


@contextmanager
def live_head(url: str, loaded: LoadedVersion) -> Iterator[LiveHead]:
    """The head at the server ``url``; the key of ``VIDLAKE_API_KEY`` goes with each request.

    Raises:
        UsageError: no server answers there, it wants another key, or it does not serve this version of the head.
    """
    key = os.environ.get(KEY_VARIABLE)
    headers = {} if not key else {"authorization": f"Bearer {key}"}
    url = url.rstrip("/")
    try:
        client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT)
    except httpx.InvalidURL as error:
        raise UsageError(f"--live {url}: {error}") from None
    with client:
        try:
            head = LiveHead(url, loaded, client)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UsageError(f"--live {url}: no server answers there: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"--live {url}: it is no vidlake server of this version") from None
        yield head


_BINARY = {"content-type": "application/octet-stream"}
_ABOUT_THE_VIDEO = (
    httpx.codes.BAD_REQUEST,
    httpx.codes.REQUEST_ENTITY_TOO_LARGE,
    httpx.codes.UNSUPPORTED_MEDIA_TYPE,
    httpx.codes.GATEWAY_TIMEOUT,
)


class _LeftOut(Exception):
    """Why a video is not compared."""


def largest_difference(
    units: Sequence[Document],
    *,
    times_s: NDArray[np.float64],
    probabilities: NDArray[np.float32],
    labels: tuple[str, ...],
) -> float | None:
    """The largest difference of any probability of a video's units; ``None``: they are not the same units.

    Args:
        units: as the server gives them.
        times_s: of the batch's, ``[U]``.
        probabilities: of the batch, ``[U, C]``.
        labels: the C labels.
    """
    if not np.array_equal(np.array([number(unit, "time_s") for unit in units]), times_s):
        return None
    if not units:
        return 0.0
    return float(np.nanmax(np.abs(np.stack([_probabilities(unit, labels) for unit in units]) - probabilities)))


def _probabilities(unit: Document, labels: tuple[str, ...]) -> NDArray[np.float32]:
    """In the order of the head's labels; those that the server left out are NaN."""
    by_label = {text(label, "label"): number(label, "probability") for label in parts(unit, "labels")}
    return np.array([by_label.get(label, np.nan) for label in labels], np.float32)


def _videos_with_a_range(lake: LakeFeatures) -> set[str]:
    ids: set[str] = set()
    for dataset in lake.datasets:
        for table in video_parts(dataset.files, ("video_id", "start_s", "end_s")):
            rows = table.to_pylist()
            ids |= {row["video_id"] for row in rows if (row["start_s"], row["end_s"]) != (None, None)}
    return ids


def _code(answer: httpx.Response) -> str:
    return text(_error(answer), "code")


def _message(answer: httpx.Response) -> str:
    return text(_error(answer), "message")


def _error(answer: httpx.Response) -> Document:
    try:
        return part(document_of(answer.json(), name="the answer"), "error")
    except (ValueError, KeyError, TypeError):
        return {"code": f"status {answer.status_code}", "message": f"status {answer.status_code}"}
