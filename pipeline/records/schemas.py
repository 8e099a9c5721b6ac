"""The Arrow schemas of what passes between Ray operators, and of plan and footers (the tables: ``tables.py``)."""

import pyarrow as pa

from pipeline.records.tables import MOMENT
from pipeline.records.thumbnails import THUMBNAILS_FIELD
from pipeline.records.windows import Windows

_SEGMENT = pa.struct(
    [
        ("index", pa.int32()),
        ("seek_to", pa.int64()),
        ("key_pts", pa.int64()),
        ("window_first", pa.int64()),
        ("window_end", pa.int64()),
        ("targets", pa.list_(pa.int64())),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("num_samples", pa.int32()),
        ("cost_s", pa.float64()),
        ("missing_start_s", pa.float64()),
    ]
)
_FACTS = pa.struct(
    [
        ("stream_index", pa.int32()),
        ("time_base", pa.string()),
        ("origin_pts", pa.int64()),
        ("start_pts", pa.int64()),
        ("is_sequential", pa.bool_()),
        ("frame_rate_hz", pa.string()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("pix_fmt", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("duration_s", pa.float64()),
        ("creation_time", pa.string()),
    ]
)
_IDENTITY = [
    ("video_id", pa.string()),
    ("uri", pa.string()),
    ("size_bytes", pa.int64()),
    ("etag", pa.string()),
    ("mtime_ns", pa.int64()),
    ("range_start", pa.string()),
    ("range_end", pa.string()),
]

SOURCES = pa.schema([*_IDENTITY, ("is_signed", pa.bool_()), ("locator", pa.string()), ("attempts", pa.int32())])
"""A row a video to plan. ``locator`` opens it, may hold a signature (``is_signed``) and never reaches the disk."""

PLAN = pa.schema(
    [
        *_IDENTITY,
        ("is_signed", pa.bool_()),
        ("attempts", pa.int32()),
        ("facts", _FACTS),
        ("segments", pa.list_(_SEGMENT)),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""A row a planned video: what it is and where it is cut, or the reason that it cannot be."""

TASKS = pa.schema(
    [*_IDENTITY, ("locator", pa.string()), ("attempts", pa.int32()), ("facts", _FACTS), ("segment", _SEGMENT)]
)
"""A row a segment to decode; a block of them is one task."""

_SETTLED = [
    ("video_id", pa.string()),
    ("segment", pa.int32()),
    ("attempts", pa.int32()),
    ("reason", pa.string()),
    ("detail", pa.string()),
    ("missing_start_s", pa.float64()),
    ("missing_end_s", pa.float64()),
    ("num_samples", pa.int32()),
    ("num_corrupt", pa.int32()),
]

SETTLED = pa.schema(_SETTLED)
"""A row a segment, or with ``segment`` null a whole video: the reason why something is missing, and from when to when.

``reason`` is null where nothing is. These are the entries of a features file's footer.
"""

MARKS = [
    ("epoch", pa.list_(pa.int32())),
    ("pts", pa.list_(pa.int64())),
    ("time_s", pa.list_(pa.float64())),
    ("is_keyframe", pa.list_(pa.bool_())),
    ("is_corrupt", pa.list_(pa.bool_())),
]
WINDOW_MARKS = [
    ("end_pts", pa.list_(pa.int64())),
    ("end_time_s", pa.list_(pa.float64())),
    ("num_frames", pa.list_(pa.int32())),
]
"""What is known of a window beside the marks of its first sample: its last one's, and how many it really has."""

CLIPS = [("clip_first", pa.list_(pa.int32())), ("clip_begin", pa.list_(pa.int32())), ("clip_end", pa.list_(pa.int32()))]
"""The windows among a segment's pictures: the fields of ``windows.Clip``."""

_DONE = [
    *_SETTLED,
    ("video_s", pa.float64()),
    ("uri", pa.string()),
    ("time_base", pa.string()),
    ("recorded_at", MOMENT),
    *MARKS,
]


def samples_schema(num_inputs: int, *, windows: Windows | None = None, has_thumbnails: bool = False) -> pa.Schema:
    """A row a decoded segment of ``video_s`` seconds, its samples prepared in ``num_inputs`` ways.

    Its video's first frame was ``recorded_at``, where that is known. ``decoded_frames`` came out of the decoder for it.
    ``pixels_0``, ``pixels_1`` ... are ``uint8[T, H, W, 3]`` each: bytes, which travel without a copy whatever their
    shape. Where samples form ``windows`` these are all that the windows consist of, each once, and the marks are those
    of the rows.
    """
    clips = [] if windows is None else CLIPS
    thumbnails = [THUMBNAILS_FIELD] if has_thumbnails else []
    pixels = [(pixels_column(place), pa.large_binary()) for place in range(num_inputs)]
    marks = [*_DONE, *_window_marks(windows)]
    return pa.schema([*marks, ("decoded_frames", pa.int64()), *clips, *thumbnails, *pixels])


def pixels_column(place: int) -> str:
    """The column of a way of preparing samples, counted from 0."""
    return f"pixels_{place}"


def outputs_schema(num_models: int, *, has_windows: bool = False, has_thumbnails: bool = False) -> pa.Schema:
    """A row a segment with the features of ``num_models`` models: ``features_0`` ..., ``float32[T, D]`` each."""
    windows, thumbnails = WINDOW_MARKS if has_windows else [], [THUMBNAILS_FIELD] if has_thumbnails else []
    features = [(features_column(place), pa.large_binary()) for place in range(num_models)]
    return pa.schema([*_DONE, *windows, *thumbnails, *features])


def features_column(place: int) -> str:
    """The column of a model's features, counted from 0."""
    return f"features_{place}"


EMBEDDED = pa.schema([*_DONE, ("features", pa.large_binary())])
"""A row a segment with the features of one model, ``float32[T, D]``: what is committed to a dataset."""

EMBEDDED_WINDOWS = pa.schema([*_DONE, *WINDOW_MARKS, ("features", pa.large_binary())])
"""The same of windows."""


def _window_marks(windows: Windows | None) -> list[tuple[str, pa.DataType]]:
    return [] if windows is None or windows.keeps_samples else WINDOW_MARKS
