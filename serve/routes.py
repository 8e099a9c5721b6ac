"""The HTTP application: every contract behind one guard. Runs in a Serve replica, or in any ASGI server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from pipeline import __version__
from serve.cameras.remote import Cameras
from serve.console import routes as console
from serve.console.files import ConsoleFiles
from serve.inference.lake_search import LakeSearch
from serve.inference.lakes import ServedLake
from serve.inference.service import FeatureService
from serve.metrics import Metrics
from serve.protocols import embeddings, events, features, heads, live, score, search, status, streams
from serve.protocols import lake as lakes
from serve.protocols.answers import DIGEST_HEADER, HEAD_HEADER
from serve.protocols.kserve import routes as kserve
from serve.protocols.kserve.requests import HEADER_LENGTH
from serve.settings import Access, Settings
from serve.web.bodies import BodyLimit
from serve.web.middleware import Guarded, HeadAsGet, Observed
from serve.web.refusals import Refusals
from serve.web.security import ApiKeys, Guard

_ERROR_SHAPES = {kserve.PREFIX: kserve.error_document}


def create_app(
    service: FeatureService,
    settings: Settings,
    *,
    keys: ApiKeys,
    metrics: Metrics,
    cameras: Cameras | None = None,
    is_behind_proxy: bool = False,
) -> ASGIApp:
    """Put the contracts in front of a service, and close it with the application.

    Behind Ray's proxy, that one puts a request's id on the answer.

    Raises:
        UsageError: there is no dataset where the settings say.
    """
    lake_search = None if settings.lake is None else LakeSearch(settings.lake)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.heads.watch()
        if lake_search is not None:
            lake_search.watch()
        yield
        if lake_search is not None:
            lake_search.close()
        if lake is not None:
            lake.close()
        await service.close()

    app = FastAPIOffline(  # its pages load their scripts from this server
        title="vidlake",
        version=__version__,
        description="Pictures and videos to the very features that the batch job writes.",
        lifespan=lifespan,
    )
    guard = Guard(settings.access, keys)
    app.state.service, app.state.guard = service, guard
    lake = None if settings.lake is None else ServedLake(settings.lake, limits=settings.limits)
    app.state.cameras, app.state.search, app.state.lake = cameras, lake_search, lake
    app.state.console = ConsoleFiles.read(needs_key=bool(keys), has_lake=lake is not None)
    for contract in (status, features, heads, score, kserve, live, streams, events, search, embeddings, lakes, console):
        app.include_router(contract.router)
    refusals = Refusals(_ERROR_SHAPES)
    refusals.handle_errors_of(app)
    limits = settings.limits
    guarded = Guarded(
        HeadAsGet(app),
        guard=guard,
        body_limit=BodyLimit(limits.max_body_bytes),
        max_seconds=limits.max_seconds,
        refusals=refusals,
    )
    return _open_to_pages(Observed(guarded, metrics=metrics, is_behind_proxy=is_behind_proxy), settings.access)


def _open_to_pages(app: ASGIApp, access: Access) -> ASGIApp:
    """Let browsers pass answers to pages of the allowed origins. Preflights, which carry no key, are answered here."""
    if not access.allowed_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=access.allowed_origins,
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "Last-Event-ID", "X-Request-Id", HEADER_LENGTH),
        expose_headers=("X-Request-Id", "Retry-After", HEADER_LENGTH, HEAD_HEADER, DIGEST_HEADER),
        allow_private_network=True,  # the operator has named the page, wherever this server listens
    )
