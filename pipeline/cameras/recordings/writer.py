"""The recordings of one session, as they are written."""

from datetime import timedelta

from pipeline.records.streams import Session


class RecordingWriter:
    """Writes what a puller recorded of one session to files of some minutes, on a thread of its own.

    A file appears whole under its final name (``RecordingName``), in a folder or a bucket. What a killed writer was
    writing to a folder is finished by the next writer of the stream, by ``fill`` or by ``verify``; what it was writing
    to a bucket is gone. A store that fails costs recordings, never the stream: ``error`` says what is wrong.
    """

    def __init__(self, uri: str, session: Session, *, lake: str, keep: timedelta | None = None) -> None:
        """Begin.

        Args:
            uri: where recordings are kept: a folder, or an address in a bucket.
            session: what is recorded.
            lake: the dataset, which remembers ``uri`` for ``fill`` and ``verify``.
            keep: recordings of the stream that ended longer ago are removed; ``None``: none are.

        Raises:
            UsageError: nothing can be written there.
            StorageError: the store failed.
        """
        raise NotImplementedError

    @property
    def error(self) -> str | None:
        """What is wrong with the store now, in one line; ``None``: nothing."""
        raise NotImplementedError

    def write(self, data: bytes, *, is_first: bool, start_time_s: float, end_time_s: float) -> None:
        """Take the next of what was recorded, in its order. Never blocks.

        Args:
            data: whole boxes of a fragmented MP4: with ``is_first`` its header, ``ftyp`` and ``moov``, and perhaps
                fragments behind it; otherwise fragments.
            is_first: a new file begins here, with a keyframe.
            start_time_s: of the first frame in ``data``, from the session's first frame.
            end_time_s: where its last frame ends.
        """
        raise NotImplementedError

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Finish the last file: its name appears, unless the store does not take it in that time."""
        raise NotImplementedError
