"""What a weights file says beside its numbers: the labels of its outputs, and how its pictures are prepared.

They stand in the header of a ``.safetensors`` file, as text: reading them runs nothing.
"""

import io
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.errors import InputError, UsageError
from pipeline.records.documents import Document, document_of, only, part, text, texts
from pipeline.records.model_info import Preprocessing
from pipeline.storage.addresses import is_local

KEY = "vidlake"
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""What the library takes, too."""
_MOST_NOTES_BYTES = 1 << 22
_MOST_LABELS = 1 << 16
_MOST_LABEL_LENGTH = 1_000
_MOST_RESIZE_PX = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsNotes:
    """The labels of a network's outputs, in their order, and its preprocessing."""

    model: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= _MOST_LABELS or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"there are 1 to {_MOST_LABELS} labels, each once")
        if any(len(label) > _MOST_LABEL_LENGTH for label in self.labels):
            raise ValueError(f"a label has at most {_MOST_LABEL_LENGTH} characters")
        resize_px = self.preprocessing.resize_px
        if max(resize_px if isinstance(resize_px, tuple) else (resize_px,)) > _MOST_RESIZE_PX:
            raise ValueError(f"pictures are resized to at most {_MOST_RESIZE_PX} pixels")
        if not all(map(math.isfinite, (*self.preprocessing.mean, *self.preprocessing.std))):
            raise ValueError("mean and std must be finite")

    def to_header(self) -> dict[str, str]:
        """The metadata of the file, which ``from_header`` reads back."""
        document = {"model": self.model, "labels": self.labels, "preprocessing": self.preprocessing.to_json()}
        return {KEY: json.dumps(document)}

    @classmethod
    def from_header(cls, header: Mapping[str, object]) -> Self | None:
        """The inverse of ``to_header``; ``None``: the file says nothing of the kind.

        Raises:
            KeyError, TypeError, ValueError, RecursionError: what it says is damaged.
        """
        if KEY not in header:
            return None
        notes = text(header, KEY)
        if len(notes) > _MOST_NOTES_BYTES:
            raise ValueError(f"it says more than {_MOST_NOTES_BYTES} bytes of itself")
        document = document_of(json.loads(notes), name=KEY)
        only(document, cls.__slots__, what=KEY)
        return cls(
            model=text(document, "model"),
            labels=texts(document, "labels"),
            preprocessing=Preprocessing.from_json(part(document, "preprocessing")),
        )


def read_notes(location: str) -> WeightsNotes | None:
    """What a weights file says of itself; ``None``: nothing, as files of other programs and ``.pt`` do.

    Raises:
        UsageError: there is no such object, or its notes are damaged.
        StorageError: its store failed, after retries.
    """
    if not location.endswith(".safetensors"):
        return None
    try:
        return WeightsNotes.from_header(_metadata(location))
    except InputError as error:
        raise UsageError(f"--weights {location}: {error.detail}; check the address and who may read it") from None
    except (KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"--weights {location}: its labels or preprocessing are damaged ({what[:200]})") from None


def header_metadata(read: Callable[[int], bytes]) -> Document:
    """The metadata of a ``.safetensors`` file, of which only the header is read; ``read`` gives the next bytes.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: it is damaged.
    """
    header = document_of(json.loads(read(_header_bytes(read(_LENGTH_BYTES)))), name="the header")
    return document_of(header.get("__metadata__", {}), name="the metadata")


def _metadata(location: str) -> Document:
    if is_local(location):
        with open(location, "rb") as file:
            return header_metadata(file.read)
    from pipeline.storage.schemes import open_reader  # files of this machine want no store

    with open_reader(location) as reader:
        length = reader.read_at(0, _LENGTH_BYTES)
        return header_metadata(io.BytesIO(length + reader.read_at(_LENGTH_BYTES, _header_bytes(length))).read)


def _header_bytes(length: bytes) -> int:
    if len(length) != _LENGTH_BYTES:
        raise ValueError("it is cut short")
    (num_bytes,) = struct.unpack("<Q", length)
    if num_bytes > _MOST_HEADER_BYTES:
        raise ValueError(f"its header would have {num_bytes} bytes")
    return int(num_bytes)
