"""The parameters that routes share: the replica's service, admission to it, the sampling rule, how many labels."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from pipeline.errors import UsageError
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from serve.inference.service import FeatureService
from serve.problems import Problem


async def service_of(connection: HTTPConnection) -> FeatureService:
    """The replica's service."""
    return cast(FeatureService, connection.app.state.service)


Service = Annotated[FeatureService, Depends(service_of)]


async def _admitted(service: Service) -> AsyncIterator[FeatureService]:
    with service.admission.request():
        yield service


Admitted = Annotated[FeatureService, Depends(_admitted)]
"""The service, once it has room for this request. Without room the answer is 503, before the body is read."""


async def _rule_of(sample: str = "fps:1") -> SamplingRule:
    """Which frames of a video: ``fps:R``, ``every:N``, ``all``, ``keyframes`` or ``uniform:N``."""
    try:
        return parse_rule(sample)
    except UsageError as error:
        raise Problem(str(error)) from None


Rule = Annotated[SamplingRule, Depends(_rule_of)]

Top = Annotated[int, Query(ge=1, le=1000, description="How many labels, the most probable first.")]
