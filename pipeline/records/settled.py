"""What a file of an appended table settles: the entries of its footer (their columns: ``schemas.SETTLED``)."""

from dataclasses import dataclass
from typing import Self

from pipeline.records.documents import Document, number_or_none, text, text_or_none, whole, whole_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How a segment ended, or with ``segment`` ``None`` a whole video: a row of ``SETTLED``.

    ``reason`` says why something is missing; ``None``: nothing is.
    """

    video_id: str
    segment: int | None
    attempts: int
    reason: str | None
    detail: str | None
    missing_start_s: float | None
    missing_end_s: float | None
    num_samples: int
    num_corrupt: int

    @classmethod
    def complete(cls, video_id: str, segment: int, *, attempts: int, num_samples: int, num_corrupt: int = 0) -> Self:
        """Of a segment of which nothing is missing."""
        return cls(
            video_id=video_id,
            segment=segment,
            attempts=attempts,
            reason=None,
            detail=None,
            missing_start_s=None,
            missing_end_s=None,
            num_samples=num_samples,
            num_corrupt=num_corrupt,
        )

    @classmethod
    def failed(cls, video_id: str, *, attempts: int, reason: str, detail: str | None) -> Self:
        """Of a video that failed as a whole."""
        return cls(
            video_id=video_id,
            segment=None,
            attempts=attempts,
            reason=reason,
            detail=detail,
            missing_start_s=None,
            missing_end_s=None,
            num_samples=0,
            num_corrupt=0,
        )

    def to_json(self) -> Document:
        """An entry of a footer."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``."""
        return cls(
            video_id=text(document, "video_id"),
            segment=whole_or_none(document, "segment"),
            attempts=whole(document, "attempts"),
            reason=text_or_none(document, "reason"),
            detail=text_or_none(document, "detail"),
            missing_start_s=number_or_none(document, "missing_start_s"),
            missing_end_s=number_or_none(document, "missing_end_s"),
            num_samples=whole(document, "num_samples"),
            num_corrupt=whole(document, "num_corrupt"),
        )
