"""``/v1/heads``: the trained heads that answer here, and which version of each does."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from serve.inference.heads import HeadStatus, State
from serve.protocols.answers import head_headers
from serve.protocols.parameters import Admin, Admitted, Service
from serve.web.replies import json_reply

router = APIRouter(tags=["heads"])
_MOST_VERSIONS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHead:
    """One head of the folder. Of one that does not answer, only its name and its problem are known."""

    name: str
    version: int | None
    """The one that answers."""
    digest: str | None
    labels: list[str]
    unit: str | None
    score: float | None
    """Balanced accuracy over its test part."""
    state: State
    """`ready`; `behind`: the version in use does not load, and the one before it goes on answering; `unused`: no
    version is in use; `broken`."""
    problem: str | None = None
    """Not there where there is none."""

    @classmethod
    def of(cls, status: HeadStatus) -> "ListedHead":
        """What is known of one."""
        served = status.served
        return cls(
            name=status.name,
            version=served.version if served else status.in_use.version if status.in_use else None,
            digest=served.digest if served else None,
            labels=list(served.info.labels) if served else [],
            unit=str(served.info.unit) if served else None,
            score=served.score if served else None,
            state=status.state,
            problem=status.problem,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHeads:
    """All heads of the folder."""

    heads: list[ListedHead]


class Choice(BaseModel):
    """The version that is to answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, lt=_MOST_VERSIONS)]


def _document(status: HeadStatus) -> dict[str, object]:
    document = asdict(ListedHead.of(status))
    return document if status.problem is not None else {key: document[key] for key in document if key != "problem"}


@router.get("/v1/heads", response_model=ListedHeads)
async def heads(service: Service) -> Response:
    """The heads, those included that cannot answer, and why they cannot."""
    return json_reply({"heads": [_document(status) for status in service.heads.statuses()]})


@router.post("/v1/heads/{name}/use", response_model=ListedHead, dependencies=[Admin])
async def use(service: Admitted, name: str, choice: Choice) -> Response:
    """Choose the version of a head: here at once, and on every other server of the folder within seconds.

    It needs an admin key. A version that does not fit is refused, and nothing is written.
    """
    status = await asyncio.to_thread(service.heads.use, name, choice.version)
    reply = json_reply(_document(status))
    reply.headers.update(head_headers(status.served))
    return reply
