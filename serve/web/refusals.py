"""How a refused request is answered: each contract has a shape of its own for errors."""

import logging
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.errors import PipelineError
from serve.problems import MethodNotAllowed, NotFound, Problem, ServerError, document_of, headers_of, status_of
from serve.web.replies import json_reply

ErrorShape = Callable[[Problem], object]
"""The JSON body with which a contract answers an error."""

_LOG = logging.getLogger("ray.serve")


class Refusals:
    """Answers a problem in the shape of the contract that the request's path belongs to."""

    def __init__(self, shapes: Mapping[str, ErrorShape]) -> None:
        """Answer as ``shapes`` says below each of its paths, and with ``document_of`` everywhere else."""
        self._shapes = shapes

    def response(self, problem: Problem, *, path: str) -> Response:
        """The HTTP answer."""
        answer = json_reply(self._shape(path)(problem), status=status_of(problem))
        answer.headers.update(headers_of(problem))
        return answer

    def handle_errors_of(self, app: FastAPI) -> None:
        """Answer whatever a route raises."""
        app.add_exception_handler(PipelineError, self._on_pipeline_error)
        app.add_exception_handler(RequestValidationError, self._on_invalid_parameter)
        app.add_exception_handler(HTTPException, self._on_http_exception)
        app.add_exception_handler(Exception, self._on_bug)

    def _shape(self, path: str) -> ErrorShape:
        shapes = (shape for prefix, shape in self._shapes.items() if path == prefix or path.startswith(f"{prefix}/"))
        return next(shapes, document_of)

    async def _on_pipeline_error(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, Problem):
            # The operator has to mend it, such as weights that give no finite numbers: only the log says what it was.
            _LOG.error("a request failed", exc_info=error)
            error = _failure()
        return self.response(error, path=request.url.path)

    async def _on_invalid_parameter(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return self.response(Problem(f"{name}: {first['msg']}"), path=request.url.path)

    async def _on_http_exception(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        problems: dict[int, Problem] = {404: NotFound("no such route"), 405: MethodNotAllowed("not with this method")}
        problem = problems.get(error.status_code, Problem(str(error.detail)))
        answer = self.response(problem, path=request.url.path)
        answer.headers.update(error.headers or {})
        return answer

    async def _on_bug(self, request: Request, error: Exception) -> Response:
        # Starlette raises the error again after this answer, so that it reaches the log.
        return self.response(_failure(), path=request.url.path)


def _failure() -> ServerError:
    return ServerError("the server failed over this request")
