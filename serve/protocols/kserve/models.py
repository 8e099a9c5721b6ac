"""The models of the Open Inference Protocol: the server's own, and each trained head."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import numpy as np

from pipeline.models.batching import Features, Pictures
from serve.inference.head_answers import probabilities
from serve.inference.head_folder import ServedHead
from serve.inference.service import FeatureService
from serve.problems import NotFound
from serve.protocols.answers import head_headers

OWN_VERSION = "1"
"""Of the server's model: another model is another server."""

Given = Pictures | Features | Sequence[bytes]
"""Model inputs, features, or encoded pictures."""
Output = Features | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorKind:
    """What a tensor of a model looks like."""

    name: str
    datatype: str
    shape: Sequence[int]


class OfferedModel(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """In the path."""

    @property
    def version(self) -> str:
        """The only one that is offered."""

    @property
    def platform(self) -> str:
        """The protocol's word for what computes."""

    def inputs(self) -> list[TensorKind]:
        """Of which a request has one."""

    def outputs(self) -> list[TensorKind]:
        """Of which a request may choose."""

    def headers(self) -> dict[str, str]:
        """Of each of its answers."""

    async def answer(self, given: Given, names: Sequence[str]) -> dict[str, Output]:
        """The outputs with these names, a row for each picture.

        Raises:
            Problem: a picture does not decode.
        """


def model_named(service: FeatureService, name: str, *, version: str | None) -> OfferedModel:
    """The model of a path, a head as it is by now.

    Raises:
        NotFound: there is none of that name, or not in that version.
        Conflict: it is a head that cannot answer.
    """
    own = OwnModel(service)
    model: OfferedModel = own
    if name != own.name:
        known = {status.name for status in service.heads.statuses()}
        if name not in known:
            raise NotFound(f"unknown model {name!r}: {', '.join([own.name, *service.heads.names()])} is served")
        model = HeadModel(service, service.heads.head(name))
    if version not in (None, model.version):
        raise NotFound(f"unknown version {version!r} of {name}: there is {model.version}")
    return model


class OwnModel(OfferedModel):
    """The server's model: pictures to features and, where it classifies, to the probabilities of its classes."""

    def __init__(self, service: FeatureService) -> None:
        self._service = service

    @property
    def name(self) -> str:
        """As in ``/v1/models``."""
        return self._service.info.name

    @property
    def version(self) -> str:
        """Always the same."""
        return OWN_VERSION

    @property
    def platform(self) -> str:
        """As ``OfferedModel.platform``."""
        return "vidlake_pytorch"

    def inputs(self) -> list[TensorKind]:
        """As ``OfferedModel.inputs``."""
        return picture_inputs(self._service)

    def outputs(self) -> list[TensorKind]:
        """As ``OfferedModel.outputs``."""
        num_classes = len(self._service.classes)
        feature = TensorKind(name="feature", datatype="FP32", shape=[-1, self._service.info.dim])
        probability = TensorKind(name="probability", datatype="FP32", shape=[-1, num_classes])
        return [feature, probability] if num_classes else [feature]

    def headers(self) -> dict[str, str]:
        """None."""
        return {}

    async def answer(self, given: Given, names: Sequence[str]) -> dict[str, Output]:
        """As ``OfferedModel.answer``."""
        features = await _features(self._service, given)
        return {name: features if name == "feature" else await self._service.probabilities(features) for name in names}


class HeadModel(OfferedModel):
    """One version of a head: a row for each picture or, where it answers for windows or videos, one row for all."""

    def __init__(self, service: FeatureService, served: ServedHead) -> None:
        self._service = service
        self._served = served

    @property
    def name(self) -> str:
        """Of the head."""
        return self._served.name

    @property
    def version(self) -> str:
        """The one in use."""
        return str(self._served.version)

    @property
    def platform(self) -> str:
        """As ``OfferedModel.platform``."""
        return "vidlake_head"

    def inputs(self) -> list[TensorKind]:
        """As ``OfferedModel.inputs``; features may have been computed elsewhere, or lie in a dataset."""
        feature = TensorKind(name="feature", datatype="FP32", shape=[-1, self._service.info.dim])
        return [*picture_inputs(self._service), feature]

    def outputs(self) -> list[TensorKind]:
        """As ``OfferedModel.outputs``; ``label`` is the most probable one."""
        num_labels = len(self._served.info.labels)
        probability = TensorKind(name="probability", datatype="FP32", shape=[-1, num_labels])
        return [probability, TensorKind(name="label", datatype="BYTES", shape=[-1])]

    def headers(self) -> dict[str, str]:
        """Which version it was."""
        return head_headers(self._served)

    async def answer(self, given: Given, names: Sequence[str]) -> dict[str, Output]:
        """As ``OfferedModel.answer``."""
        features = await _features(self._service, given)
        rows = await self._service.computed(partial(probabilities, self._served, features))
        labels = self._served.info.labels
        said = [labels[at] for at in rows.argmax(axis=1)] if "label" in names else []
        return {name: rows if name == "probability" else said for name in names}


def picture_inputs(service: FeatureService) -> list[TensorKind]:
    """Model inputs, and encoded pictures."""
    height, width = service.info.preprocessing.crop_px
    pixels = TensorKind(name="pixels", datatype="UINT8", shape=[-1, height, width, 3])
    return [pixels, TensorKind(name="image", datatype="BYTES", shape=[-1])]


async def _features(service: FeatureService, given: Given) -> Features:
    if not isinstance(given, np.ndarray):
        return await service.stills(given)
    if given.dtype == np.uint8:
        return await service.prepared(cast(Pictures, given))
    return cast(Features, given)
