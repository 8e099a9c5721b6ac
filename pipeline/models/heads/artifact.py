"""A version of a head on disk: ``head.json`` and ``weights.safetensors``, neither of which runs anything when read.

Torch takes seconds to import: who only lists heads, or chooses another version, does without.
"""

import hashlib
import json
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.models.heads.arrays import Arrays, from_bytes, to_bytes
from pipeline.models.heads.files import HEAD_JSON, MAX_WEIGHTS_BYTES, WEIGHTS, HeadFiles, joined, one_line, read_bounded
from pipeline.records.documents import Document, document_of
from pipeline.records.heads import HeadInfo

if TYPE_CHECKING:
    from pipeline.models.heads.head import Head

_READABLE = 1 << 20
"""Characters: whoever reads more than that has a program for it."""


def head_bytes(info: HeadInfo, arrays: Arrays) -> dict[str, bytes]:
    """The two files that make a head, by their names: the same head gives the same bytes.

    Raises:
        ValueError: the arrays are not those of such a head.
    """
    from pipeline.models.heads.head import Head

    Head(info, arrays, digest="")
    return {HEAD_JSON: document_bytes(info.to_json()), WEIGHTS: to_bytes(arrays)}


def document_bytes(document: Document) -> bytes:
    """A JSON document as a person can read it: the same document gives the same bytes.

    Raises:
        ValueError: a number in it is not finite.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    if len(text) > _READABLE:  # the confusion of a thousand labels
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def digest_of_head(head_json: bytes, weights: bytes) -> str:
    """SHA-256 in hexadecimal over the two files, one after the other."""
    return hashlib.sha256(head_json + weights).hexdigest()


def read_head(files: HeadFiles, folder: str) -> "Head":
    """Read the version in a folder.

    Args:
        files: the place.
        folder: relative to it; empty: the place itself.

    Raises:
        UsageError: it lacks a file, is damaged, of a foreign kind, or its arrays are not those of its document.
        StorageError: the place failed.
    """
    from pipeline.models.heads.head import Head

    head_json = read_bounded(files, joined(folder, HEAD_JSON))
    weights = read_bounded(files, joined(folder, WEIGHTS), max_bytes=MAX_WEIGHTS_BYTES)
    info = _info(head_json, uri=f"{files.uri}/{joined(folder, HEAD_JSON)}")
    try:
        return Head(info, from_bytes(weights), digest=digest_of_head(head_json, weights))
    except ValueError as error:
        uri = f"{files.uri}/{joined(folder, WEIGHTS)}"
        raise UsageError(f"{uri}: are not the numbers of this head: {one_line(error)}; train it anew") from None


def read_document(files: HeadFiles, name: str) -> Document:
    """A JSON file that holds an object.

    Raises:
        UsageError: it is not there, too large, or no such file.
        StorageError: the place failed.
    """
    return _document(read_bounded(files, name), uri=f"{files.uri}/{name}")


def _info(head_json: bytes, *, uri: str) -> HeadInfo:
    from pipeline.models.heads.head import check_info

    document = _document(head_json, uri=uri)
    try:
        info = HeadInfo.from_json(document)
        check_info(info)
    except KeyError as error:
        raise UsageError(f"{uri}: is no head's document: lacks {str(error)[:60]}; train it anew") from None
    except (TypeError, ValueError, OverflowError, UsageError) as error:
        raise UsageError(f"{uri}: is no head's document: {one_line(error)}; train it anew") from None
    return info


def _document(data: bytes, *, uri: str) -> Document:
    try:
        return document_of(json.loads(data), name="the file")
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{uri}: is no JSON object: {one_line(error)}") from None
