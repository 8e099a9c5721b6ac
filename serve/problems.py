"""Why a request is refused: a stable code, an HTTP status, and a sentence without a path or a traceback."""

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
"""A decoder's last message can hold whatever was in its memory: only the log shows it."""


class Problem(PipelineError):
    """Why one request is refused; ``code`` and ``status`` go to the client."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NeedsVideo(Problem):
    """The model takes clips, and was sent a picture."""

    code = "needs_video"


class Unauthorized(Problem):
    """No key, or none that is known."""

    status, code = 401, "unauthorized"


class Forbidden(Problem):
    """A ``Host`` or ``Origin`` that the server does not answer, or a key that is not enough."""

    status, code = 403, "forbidden"


class NotFound(Problem):
    """No such route, model, head or classes."""

    status, code = 404, "not_found"


class MethodNotAllowed(Problem):
    """The route exists, but not for this method."""

    status, code = 405, "method_not_allowed"


class Conflict(Problem):
    """A head that cannot answer, or cannot be used with this model."""

    status, code = 409, "conflict"


class BodyTooLarge(Problem):
    """The body is longer than ``max_body_bytes``."""

    status, code = 413, "body_too_large"


class TooLong(Problem):
    """The video is longer than ``max_duration_s``, or has more than ``max_samples`` samples."""

    status, code = 413, "too_long"


class UnsupportedType(Problem):
    """The route does not take this content type."""

    status, code = 415, "unsupported_type"


class Busy(Problem):
    """The queue is full, or the server is about to stop."""

    status, code = 503, "busy"


class StoreFailed(Busy):
    """The store of the heads does not answer, or takes no files."""

    code = "store_failed"


class ServerError(Problem):
    """The server failed; the request is not at fault."""

    status, code = 500, "internal"


class TookTooLong(Problem):
    """The request took longer than ``max_seconds``."""

    status, code = 504, "timeout"


class BadInput(Problem):
    """The picture or video does not decode; the code is the batch job's reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.args = (reason, message)  # unpickling calls the class with these
        self.reason = reason

    @classmethod
    def of(cls, error: InputError) -> "BadInput":
        """The reason that the batch job would put into quarantine, with a sentence for the client."""
        return cls(error.reason, public_detail(error.reason, error.detail))


def public_detail(reason: str, detail: str) -> str:
    """The sentence for the client: the detail itself, or a general one where the decoder process failed."""
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
    """The JSON body, where a contract has no shape of its own."""
    return ErrorDocument(error=ErrorBody(code=code_of(problem), message=problem.message))


def headers_of(problem: Problem) -> dict[str, str]:
    """The headers that an answer with this problem needs."""
    if isinstance(problem, Busy):
        return {"retry-after": str(RETRY_AFTER_S)}
    return {"www-authenticate": "Bearer"} if isinstance(problem, Unauthorized) else {}
