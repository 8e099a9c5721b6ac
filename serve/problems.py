"""What a request can be refused for: a stable code, an HTTP status, and a sentence without a path or a traceback."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.errors import InputError, PipelineError

RETRY_AFTER_S = 1
_STATUS_OF_REASON = {"too_large": 413, "out_of_memory": 413, "timeout": 504}
_DECODER_FAILURES = {
    "crashed": "the decoder died over it",
    "out_of_memory": "the decoder needed more memory than it may have",
    "timeout": "the decoder took longer than it may",
}
"""How a decoder ended is for the log alone: its last words can hold whatever was in its memory."""


class Problem(PipelineError):
    """One request is not answered as it was hoped; ``code`` and ``status`` go to the client."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unauthorized(Problem):
    """No key, or none that is known."""

    status, code = 401, "unauthorized"


class Forbidden(Problem):
    """A ``Host`` or ``Origin`` that the server does not answer."""

    status, code = 403, "forbidden"


class NotFound(Problem):
    """No such route, model or classes."""

    status, code = 404, "not_found"


class MethodNotAllowed(Problem):
    """The route is there, and not for this method."""

    status, code = 405, "method_not_allowed"


class BodyTooLarge(Problem):
    """The body is longer than ``max_body_bytes``."""

    status, code = 413, "body_too_large"


class TooLong(Problem):
    """The video is longer than ``max_duration_s``, or has more than ``max_samples`` samples."""

    status, code = 413, "too_long"


class UnsupportedType(Problem):
    """A content type that the route does not take."""

    status, code = 415, "unsupported_type"


class Busy(Problem):
    """As many requests as may wait do wait, or the server is about to stop."""

    status, code = 503, "busy"


class ServerError(Problem):
    """Not the request's fault."""

    status, code = 500, "internal"


class TookTooLong(Problem):
    """The request took longer than ``max_seconds``."""

    status, code = 504, "timeout"


class BadInput(Problem):
    """The picture or video does not decode; the code is the batch job's reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.args = (reason, message)  # so that it unpickles
        self.reason = reason

    @classmethod
    def of(cls, error: InputError) -> "BadInput":
        """What the batch job would put into quarantine, as far as a client may know it."""
        return cls(error.reason, public_detail(error.reason, error.detail))


def public_detail(reason: str, detail: str) -> str:
    """What a client hears of a failure: its detail, or a general sentence where the decoder itself failed."""
    return _DECODER_FAILURES.get(reason, detail)


def code_of(problem: Problem) -> str:
    """The stable code that a client may act on."""
    return problem.reason if isinstance(problem, BadInput) else problem.code


def status_of(problem: Problem) -> int:
    """The HTTP status."""
    return _STATUS_OF_REASON.get(problem.reason, 400) if isinstance(problem, BadInput) else problem.status


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What went wrong."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """The JSON body of an error."""

    error: ErrorBody


def document_of(problem: Problem) -> ErrorDocument:
    """What a client reads, where a contract has no shape of its own."""
    return ErrorDocument(error=ErrorBody(code=code_of(problem), message=problem.message))


def headers_of(problem: Problem) -> dict[str, str]:
    """Headers that go with it."""
    if isinstance(problem, Busy):
        return {"retry-after": str(RETRY_AFTER_S)}
    return {"www-authenticate": "Bearer"} if isinstance(problem, Unauthorized) else {}
