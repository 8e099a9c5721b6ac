"""The exception tree: one bad video is an ``InputError``, a run that must stop a ``RunError``."""

from typing import ClassVar


class PipelineError(Exception):
    """Whatever vidlake raises on purpose."""


class InputError(PipelineError):
    """One video is bad; the run goes on. ``reason`` is the quarantine column and the HTTP error code."""

    reason: ClassVar[str]

    def __init__(self, uri: str, detail: str) -> None:
        super().__init__(uri, detail)
        self.uri = uri
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.uri}: {self.reason}: {self.detail}"


class Unreadable(InputError):
    """Empty, or the store's final answer about this one object: absent, forbidden."""

    reason = "unreadable"


class Changed(InputError):
    """The object was replaced while it was being read."""

    reason = "changed"


class NotVideo(InputError):
    """No allowed demuxer knows the content."""

    reason = "not_video"


class NoVideoStream(InputError):
    """A container without pictures, such as a sound recording."""

    reason = "no_video_stream"


class Corrupt(InputError):
    """Some of the video does not decode."""

    reason = "corrupt"


class Truncated(InputError):
    """The video ends before its own stream says it should."""

    reason = "truncated"


class UnsupportedCodec(InputError):
    """FFmpeg knows the container but has no decoder for its pictures."""

    reason = "unsupported_codec"


class TooLarge(InputError):
    """A frame has more pixels than ``--max-pixels``."""

    reason = "too_large"


class TimedOut(InputError):
    """The decoder took longer than ``--decode-timeout``, storage not counted."""

    reason = "timeout"


class Crashed(InputError):
    """The decoder process died."""

    reason = "crashed"


class Killed(Crashed):
    """Somebody killed the decoder process, perhaps for want of memory: not the video's fault until it happens twice."""


class OutOfMemory(InputError):
    """The decoder process went past ``--decode-memory``."""

    reason = "out_of_memory"


INPUT_ERRORS: dict[str, type[InputError]] = {error.reason: error for error in InputError.__subclasses__()}
"""The error class of each reason code."""


class RunError(PipelineError):
    """This run must stop; what it has published stays, and the same command resumes it."""

    exit_status: ClassVar[int] = 1


class StorageError(RunError):
    """A store failed, after retries. Never a verdict on a video."""


class WeightsError(RunError):
    """The library's own weights could not be fetched."""


class UsageError(RunError):
    """The command, its configuration or the dataset it names does not fit; nothing was touched."""

    exit_status = 2
