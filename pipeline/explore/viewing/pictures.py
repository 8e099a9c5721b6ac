"""The picture of a sample: a thumbnail that was kept, else decoded from the video by a process that may die.

Nothing else is read than videos that stand in the lake, and what is decoded keeps to limits.
"""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import LifoQueue
from typing import cast

import pyarrow as pa

from pipeline.errors import InputError, Killed, PipelineError, UsageError
from pipeline.explore.viewing.lake_view import LakeView
from pipeline.explore.viewing.stored_pictures import StoredPictures
from pipeline.inputs.sources import identity_of
from pipeline.media.process.sandbox import Dropped, Ended, Job, Picture, Sandbox
from pipeline.media.sampling.rules import AllRule, parse_rule
from pipeline.media.thumbnail_jpeg import encoded, thumbnail_size
from pipeline.records.documents import Document, part, parts, text, text_or_none, whole_or_none
from pipeline.records.ids import id_bytes
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Segment, Sizing, TimeRange, VideoFacts, VideoPlan
from pipeline.records.videos import ListedVideo
from pipeline.storage.reader import Identity, Reader
from pipeline.storage.schemes import locator_of, open_reader

MOST_PX = 1280
USUAL_PX = 320
_CACHE_BYTES = 32 << 20


class NoPicture(PipelineError):
    """The sample cannot be shown: its video has gone or changed, or does not decode there."""


class SamplePictures:
    """The pictures of a lake's samples. For any thread; each that decodes waits for a decoder of its own."""

    def __init__(self, view: LakeView, *, limits: DecodeLimits, decoders: int = 1) -> None:
        """No process is started before the first picture is to be decoded."""
        self._view = view
        self._limits = limits
        self._stored = StoredPictures(view.now.dataset)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._free: LifoQueue[Sandbox] = LifoQueue()
        self._all = [Sandbox(limits) for _ in range(decoders)]
        for sandbox in self._all:
            self._free.put(sandbox)

    def jpeg(self, video_id: str, *, epoch: int, pts: int, longest_px: int = USUAL_PX) -> bytes:
        """A sample as a JPEG, upright, about ``longest_px`` long: a thumbnail that was kept stays as it is.

        Raises:
            NoSuchVideo: the lake does not hold it.
            NoPicture: the sample cannot be shown.
            StorageError: a store failed.
        """
        key = (video_id, epoch, pts, longest_px)
        with self._lock:
            if (known := self._cache.get(key)) is not None:
                self._cache.move_to_end(key)
                return known
            if longest_px <= USUAL_PX:
                for (near_epoch, near_pts), jpeg in self._stored.around(video_id, epoch=epoch, pts=pts).items():
                    self._keep((video_id, near_epoch, near_pts, longest_px), jpeg)
                if (known := self._cache.get(key)) is not None:
                    return known
        jpeg = self._decoded(video_id, epoch=epoch, pts=pts, longest_px=longest_px)
        with self._lock:
            self._keep(key, jpeg)
        return jpeg

    def close(self) -> None:
        """End the decoder processes."""
        for sandbox in self._all:
            sandbox.close()

    def _keep(self, key: tuple[str, int, int, int], jpeg: bytes) -> None:
        self._cached_bytes += len(jpeg) - len(self._cache.pop(key, b""))
        self._cache[key] = jpeg
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= len(oldest)

    def _decoded(self, video_id: str, *, epoch: int, pts: int, longest_px: int) -> bytes:
        known = self._view.video(video_id)
        planned = self._view.now.planned.of_videos(id_bytes(pa.chunked_array([[video_id]]))).to_pylist()
        uri = text(known, "uri")
        until = time.monotonic() + self._limits.timeout_for(0)
        wanted = _Wanted(uri=uri, epoch=epoch, pts=pts, longest_px=longest_px, until=until)
        try:
            locator = locator_of(uri)
            if planned and planned[0]["facts"] is not None:
                video = ListedVideo.from_row({**planned[0], "locator": locator, "is_signed": False})
                with open_reader(locator, expected=identity_of(video)) as reader:
                    return self._planned(reader, planned[0], video.time_range, wanted)
            with open_reader(locator, expected=_identity(known)) as reader:
                return self._unplanned(reader, wanted)
        except UsageError:  # the address of a stream, or of a store whose library is not installed
            raise NoPicture(f"{uri} cannot be read from here") from None
        except InputError as error:
            raise NoPicture(str(error)) from None
        except (KeyError, TypeError, ValueError, ZeroDivisionError):  # somebody else may have written the plan
            raise NoPicture(f"the plan of {uri} is damaged") from None

    def _planned(self, reader: Reader, row: Document, time_range: TimeRange, wanted: "_Wanted") -> bytes:
        plan = VideoPlan(
            facts=VideoFacts.from_json(part(row, "facts")),
            segments=tuple(Segment.from_json(each) for each in parts(row, "segments")),
        )
        rule = parse_rule(self._view.info.config.sample)
        with self._one() as sandbox:
            return _drawn(sandbox, reader, Job(uri=wanted.uri, rule=rule, time_range=time_range), plan, wanted)

    def _unplanned(self, reader: Reader, wanted: "_Wanted") -> bytes:
        """Of a lake without its plan: the video is probed anew."""
        job = Job(uri=wanted.uri, rule=AllRule(), time_range=TimeRange())
        with self._one() as sandbox:
            plan = sandbox.plan(reader, job, sizing=Sizing())
            return _drawn(sandbox, reader, job, plan, wanted)

    @contextlib.contextmanager
    def _one(self) -> Iterator[Sandbox]:
        sandbox = self._free.get()
        try:
            yield sandbox
        finally:
            self._free.put(sandbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A sample, and how large it is to be shown."""

    uri: str
    epoch: int
    pts: int
    longest_px: int
    until: float
    """On the monotonic clock."""


def _drawn(sandbox: Sandbox, reader: Reader, job: Job, plan: VideoPlan, wanted: _Wanted) -> bytes:
    """Decode up to the sample: from the keyframe before it, or from the beginning where a video cannot be cut."""
    segments = plan.segments if plan.facts.is_sequential else (_segment_with(plan.segments, wanted),)
    for is_last_try in (False, True):
        try:
            with contextlib.closing(_pictures(sandbox, reader, job, plan.facts, segments)) as pictures:
                for picture in pictures:
                    if time.monotonic() > wanted.until:
                        raise NoPicture(f"{wanted.uri} takes too long to decode up to pts {wanted.pts}")
                    if (picture.mark.epoch, picture.mark.pts) == (wanted.epoch, wanted.pts):
                        return _small(picture, longest_px=wanted.longest_px)
        except Killed:  # by somebody else: not the video's fault until it happens twice
            if is_last_try:
                raise
    raise NoPicture(f"{wanted.uri} has no frame with pts {wanted.pts}, or it does not decode")


def _segment_with(segments: Sequence[Segment], wanted: _Wanted) -> Segment:
    """The last segment whose keyframe is not behind the sample, with that sample as its only one."""
    before = [each for each in segments if each.key_pts is None or each.key_pts <= wanted.pts]
    if not before:
        raise NoPicture(f"{wanted.uri} has no frame with pts {wanted.pts}")
    return replace(before[-1], targets=(wanted.pts,))


def _pictures(
    sandbox: Sandbox, reader: Reader, job: Job, facts: VideoFacts, segments: Sequence[Segment]
) -> Generator[Picture, None, None]:
    decoded = sandbox.decode(reader, job, facts=facts, segments=segments)
    with contextlib.closing(cast("Generator[Picture | Dropped | Ended, None, None]", decoded)) as events:
        for event in events:
            if isinstance(event, Picture):
                yield event


def _small(picture: Picture, *, longest_px: int) -> bytes:
    from pipeline.models.preprocess import resize  # torch takes seconds

    size = thumbnail_size(*picture.whole_px, longest_px=longest_px)
    return encoded(resize(picture.pixels, size=size, interpolation="bicubic")).jpeg


def _identity(known: Document) -> Identity:
    """What the table ``videos`` says of a file; its mtime is rounded there."""
    return Identity(size_bytes=whole_or_none(known, "size_bytes"), etag=text_or_none(known, "etag"))
