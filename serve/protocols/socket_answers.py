"""What a WebSocket gets for one picture: its feature, the model's classes, or the labels of a trained head."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from serve.inference.backlogs import Picture
from serve.inference.head_answers import picture_labels
from serve.inference.head_folder import ServedHead
from serve.inference.labels import Label
from serve.inference.rolling import Reach, Rolling
from serve.inference.service import FeatureService
from serve.problems import ErrorBody, Problem, document_of
from serve.protocols.features import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMessage:
    """The feature of one picture."""

    seq: int
    time_s: float
    feature: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsMessage:
    """The most probable classes of one picture."""

    seq: int
    time_s: float
    labels: list[Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMessage:
    """A head's most probable labels, of one picture or of the seconds up to it."""

    seq: int
    time_s: float
    labels: list[Label]
    head: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMessage:
    """Why one picture has no answer."""

    seq: int
    time_s: float
    error: ErrorBody


class Answers(Protocol):
    """What one socket asked for."""

    async def of(self, picture: Picture, content: bytes) -> object:
        """The message for one picture.

        Raises:
            Problem: it does not decode, or there is no answer.
        """


class FeatureAnswers(Answers):
    """The feature of each picture."""

    def __init__(self, service: FeatureService) -> None:
        self._service = service

    async def of(self, picture: Picture, content: bytes) -> FeatureMessage:
        """As ``Answers.of``."""
        features = await self._service.still(content)
        return FeatureMessage(seq=picture.seq, time_s=picture.time_s, feature=features[0])


class ClassAnswers(Answers):
    """The most probable of the model's own classes."""

    def __init__(self, service: FeatureService, *, top: int) -> None:
        """Prepare.

        Raises:
            NotFound: the model does not classify.
        """
        service.require_classes()
        self._service = service
        self._top = top

    async def of(self, picture: Picture, content: bytes) -> LabelsMessage:
        """As ``Answers.of``."""
        ranking = await self._service.ranking(await self._service.still(content), top=self._top)
        return LabelsMessage(seq=picture.seq, time_s=picture.time_s, labels=ranking.labels(0))


class HeadAnswers(Answers):
    """The labels of a head, each by the version that is in use when its picture's turn comes.

    A head of frames says something of each picture. Others look back: their seconds are made of the pictures that their
    sampling rule picks, and for one that it passes over the last answer holds, unless another version has come.
    """

    def __init__(self, service: FeatureService, name: str, *, top: int) -> None:
        """Prepare.

        Raises:
            Problem: there is no such head, or it cannot answer a socket.
        """
        self._service = service
        self._name = name
        self._top = top
        self._rolling = Rolling(most_samples=service.limits.max_samples)
        self._latest: _Latest | None = None
        served = service.heads.head(name)
        Reach.of(served, most_samples=service.limits.max_samples)

    async def of(self, picture: Picture, content: bytes) -> HeadMessage:
        """As ``Answers.of``."""
        served = self._service.heads.head(self._name)
        if served.info.is_each_sample_alone:
            features = await self._service.still(content)
            labels = await self._service.computed(partial(picture_labels, served, features, top=self._top))
        else:
            labels = await self._of_seconds(picture.time_s, content, served)
        return HeadMessage(
            seq=picture.seq, time_s=picture.time_s, labels=labels, head=served.name, version=served.version
        )

    async def _of_seconds(self, time_s: float, content: bytes, served: ServedHead) -> list[Label]:
        self._rolling.follow(served)
        if self._rolling.wants(time_s):
            self._rolling.add(time_s, await self._service.still(content))
        elif self._latest is not None and self._latest.served is served:
            return self._latest.labels
        labels = await self._service.computed(partial(self._rolling.labels, served, top=self._top))
        self._latest = _Latest(served=served, labels=labels)
        return labels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latest:
    """The last answer, and the version that gave it."""

    served: ServedHead
    labels: list[Label]


async def message_for(picture: Picture, answers: Answers) -> object:
    """The message for one picture, be it why there is no answer."""
    try:
        if isinstance(picture.content, Problem):
            raise picture.content
        return await answers.of(picture, picture.content)
    except Problem as problem:
        return ErrorMessage(seq=picture.seq, time_s=picture.time_s, error=document_of(problem).error)
