"""The pictures of what was found, as JPEG files: thumbnails that a run has kept, else decoded now."""

import re
from pathlib import Path

from pipeline.errors import StorageError
from pipeline.explore.answers import Answer, Row
from pipeline.explore.viewing.lake_view import LakeView
from pipeline.explore.viewing.pictures import NoPicture, SamplePictures
from pipeline.lake.unpacked.copies import Say
from pipeline.records.resources import DecodeLimits

_LONGEST_NAME = 60


def write_pictures(answer: Answer, uri: str, folder: Path, *, say: Say) -> list[Path]:
    """Write a picture of the best sample of each moment, or of each row, into a folder, numbered in their order.

    Args:
        answer: what was found.
        uri: of the lake.
        folder: is made where it is not there.
        say: is told of what cannot be shown.

    Raises:
        StorageError: the folder cannot be written to, or a store failed.
    """
    rows = [moment.best for moment in answer.moments] if answer.rows is None else list(answer.rows)
    pictures = SamplePictures(LakeView(uri), limits=DecodeLimits())
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows, 1):
            try:
                jpeg = pictures.jpeg(row.video_id, epoch=row.epoch, pts=row.pts)
            except NoPicture as error:
                say(f"no picture of number {number}: {error}")
                continue
            written.append(folder / name_of(row, number))
            written[-1].write_bytes(jpeg)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written to: {error.strerror}") from None
    finally:
        pictures.close()
    return written


def name_of(row: Row, number: int) -> str:
    """A file's name that sorts in the order of what was found, and says of which video and when it is."""
    stem = re.sub(r"[^\w.-]+", "_", row.uri.rstrip("/").rpartition("/")[2], flags=re.ASCII)[:_LONGEST_NAME]
    return f"{number:04d}_{stem or 'video'}_{row.time_s:.2f}s.jpg"
