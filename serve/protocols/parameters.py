"""The parameters that routes share: the replica's service, admission to it, admins, the sampling rule, the head."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from pipeline.errors import UsageError
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from serve.inference.head_folder import ServedHead
from serve.inference.service import FeatureService
from serve.problems import Problem
from serve.web.security import Guard


async def service_of(connection: HTTPConnection) -> FeatureService:
    """The replica's service."""
    return cast(FeatureService, connection.app.state.service)


Service = Annotated[FeatureService, Depends(service_of)]


async def _admitted(service: Service) -> AsyncIterator[FeatureService]:
    with service.admission.request():
        yield service


Admitted = Annotated[FeatureService, Depends(_admitted)]
"""The service, once it has room for this request. Without room the answer is 503, before the body is read."""


async def _listening(service: Service) -> AsyncIterator[FeatureService]:
    with service.admission.socket():
        yield service


Listening = Annotated[FeatureService, Depends(_listening)]
"""The same for an answer that lasts as long as the client listens: it counts as a socket."""


async def _admin(connection: HTTPConnection) -> None:
    guard: Guard = connection.app.state.guard
    guard.require_admin(connection.headers)


Admin = Depends(_admin)
"""Lets a request pass that changes what the server does, if its key is an admin's."""


async def _given_rule_of(sample: str | None = None) -> SamplingRule | None:
    """Which frames of a video: ``fps:R``, ``every:N``, ``all``, ``keyframes`` or ``uniform:N``."""
    try:
        return None if sample is None else parse_rule(sample)
    except UsageError as error:
        raise Problem(str(error)) from None


GivenRule = Annotated[SamplingRule | None, Depends(_given_rule_of)]
"""The sampling rule, where the request has one."""

DEFAULT_RULE = parse_rule("fps:1")


async def _rule_of(sample: str = str(DEFAULT_RULE)) -> SamplingRule:
    """As ``_given_rule_of``."""
    return await _given_rule_of(sample) or DEFAULT_RULE


Rule = Annotated[SamplingRule, Depends(_rule_of)]

HeadName = Annotated[str | None, Query(description="A trained head, instead of the model's own classes.")]


async def _head_of(service: Service, head: HeadName = None) -> ServedHead | None:
    return None if head is None else service.heads.head(head)


async def _head_or_default_of(service: Service, head: HeadName = None) -> ServedHead | None:
    return await _head_of(service, head if head is not None else service.default_head)


NamedHead = Annotated[ServedHead | None, Depends(_head_of)]
"""The version of the head that the request names, taken once: it answers all of the request."""

HeadOrDefault = Annotated[ServedHead | None, Depends(_head_or_default_of)]
"""The same, or that of ``--default-head``."""

Top = Annotated[int, Query(ge=1, le=1000, description="How many labels, the most probable first.")]
