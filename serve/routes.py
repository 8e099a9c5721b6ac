"""The HTTP application: every contract behind one guard. Runs in a Serve replica, or in any ASGI server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from pipeline import __version__
from pipeline.errors import PipelineError, UsageError
from serve.inference.service import FeatureService
from serve.metrics import Metrics
from serve.problems import MethodNotAllowed, NotFound, Problem, ServerError
from serve.protocols import features, live, score, status
from serve.protocols.kserve import routes as kserve
from serve.settings import Settings
from serve.web.middleware import Guarded, Observed, problem_response
from serve.web.security import ApiKeys, Guard


def create_app(service: FeatureService, settings: Settings, *, keys: ApiKeys, metrics: Metrics) -> ASGIApp:
    """Put the contracts in front of a service, and close it with the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPIOffline(  # its pages ask no content network for their scripts
        title="vidlake",
        version=__version__,
        description="Pictures and videos to the very features that the batch job writes.",
        lifespan=lifespan,
    )
    app.state.service = service
    for contract in (status, features, score, kserve, live):
        app.include_router(contract.router)
    app.add_exception_handler(PipelineError, _on_pipeline_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    limits = settings.limits
    guard = Guard(settings.access, keys, max_body_bytes=limits.max_body_bytes)
    guarded = Guarded(app, guard=guard, max_body_bytes=limits.max_body_bytes, max_seconds=limits.max_seconds)
    return Observed(guarded, metrics=metrics)


async def _on_pipeline_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        # Such as features that are no finite numbers: the operator's to mend, and in the operator's log.
        message = str(error) if isinstance(error, UsageError) else "the server failed over this request"
        error = ServerError(message)
    return problem_response(error, path=request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return problem_response(Problem(f"{name}: {first['msg']}"), path=request.url.path)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    problems: dict[int, Problem] = {404: NotFound("no such route"), 405: MethodNotAllowed("not with this method")}
    answer = problem_response(problems.get(error.status_code, Problem(str(error.detail))), path=request.url.path)
    answer.headers.update(error.headers or {})
    return answer


async def _on_bug(request: Request, error: Exception) -> Response:
    """What nobody foresaw; Starlette raises it again, so that it reaches the log."""
    return problem_response(ServerError("the server failed over this request"), path=request.url.path)
