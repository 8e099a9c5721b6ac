"""From pictures and videos to features: the batch job's ``Embedder``, decoding and preprocessing behind one queue."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, UsageError
from pipeline.explore.class_layer import ClassLayer
from pipeline.explore.labels import LabelScorer
from pipeline.media.sampling.rule import SamplingRule
from pipeline.models.batching import Batcher, Features, Pictures
from pipeline.models.embedder import Embedder
from pipeline.models.preprocess import prepare, use_one_thread
from pipeline.models.registry import load_model
from pipeline.records.model_info import ModelInfo, Precision, feature_fingerprint
from pipeline.records.segments import FrameMark, Quarantined
from serve.inference.admission import Admission
from serve.inference.backlogs import Backlogs
from serve.inference.head_folder import HeadFolder
from serve.inference.heads import Shelf
from serve.inference.labels import Ranking
from serve.inference.lanes import Lanes
from serve.inference.stills import StillDecoders
from serve.inference.video_rows import WindowEnd, rows_of, windows_of
from serve.inference.videos import PostedFile, VideoDecoders
from serve.metrics import Metrics
from serve.problems import BadInput, NeedsVideo, NotFound, TooLong, public_detail
from serve.settings import ModelSettings, Settings

Result = TypeVar("Result")
_GPU_BATCH, _CPU_BATCH = 32, 8
_LOG = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The features ``float32[T, D]`` of a video's samples, the times of the samples, and what could not be decoded."""

    marks: tuple[FrameMark, ...]
    features: Features
    end_s: float | None
    """Where the video ends, on the axis of the marks' ``time_s``; ``None``: it is a picture."""
    missing: tuple[Quarantined, ...]
    ends: tuple[WindowEnd, ...] | None = None
    """Where the windows end that begin at the marks; ``None``: each mark is that of a sample by itself."""


class FeatureService:
    """The model of one replica, and everything that feeds it."""

    def __init__(self, settings: Settings, *, metrics: Metrics) -> None:
        """Load the model and the heads, and compute once with them.

        Raises:
            UsageError: there is no such model, or the weights are not those of the settings.
            StorageError: the store of the heads failed.
        """
        self.limits = settings.limits
        self.admission = Admission(settings.limits, metrics=metrics)
        self.backlogs = Backlogs(settings.limits, on_drop=metrics.dropped)
        self._metrics = metrics
        self._lanes = Lanes(partial(_embedder, settings))
        self._embedder = self._lanes.embedder
        self.heads = Shelf(_head_folder(settings, self.info, self.precision))
        self.default_head = settings.heads.default
        self._threads = ThreadPoolExecutor(
            len(os.sched_getaffinity(0)), thread_name_prefix="still", initializer=use_one_thread
        )
        self._stills = StillDecoders(settings.limits, preprocessing=self.info.preprocessing)
        self._threads.submit(self._stills.start)
        self._windows = windows_of(settings.model, self.info)
        self._videos = VideoDecoders(settings.limits, preprocessing=self.info.preprocessing, windows=self._windows)
        self._batcher = Batcher(
            self._lanes.embed,
            batch_size=self._embedder.batch_shapes[-1],
            num_lanes=self._lanes.num_lanes,
            on_batch=metrics.batch,
        )

    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
        return self._embedder.info

    @property
    def precision(self) -> Precision:
        """The precision in which the model computes."""
        return self._embedder.precision

    @property
    def fingerprint(self) -> str:
        """Equal to a dataset's fingerprint where its features can be compared with the answers."""
        return feature_fingerprint(self.info, self.precision)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, or numbers where the weights have no names; empty: the model does not classify."""
        return self._embedder.classes or tuple(map(str, range(self._embedder.num_classes)))

    @cached_property
    def class_layer(self) -> LabelScorer:
        """The model's own classification layer, for searches by words."""
        layer = self._embedder.class_layer
        if layer is not None:
            return ClassLayer(*layer, self.classes)
        return _Classes(labels=self.classes, embedder=self._embedder)

    def embed_text(self, text: str) -> NDArray[np.float32] | None:
        """The feature of a text, as ``Embedder.embed_text`` gives it. It blocks."""
        return self._embedder.embed_text(text)

    def require_pictures(self) -> None:
        """Make sure that the model takes pictures by themselves.

        Raises:
            NeedsVideo: it takes clips.
        """
        if self._windows is not None:
            length = self._windows.length
            raise NeedsVideo(f"{self.info.name} takes clips of {length} samples: send a video to /v1/embed")

    def require_classes(self) -> None:
        """Make sure that the model classifies.

        Raises:
            NotFound: it does not.
        """
        if not self.classes:
            raise NotFound(f"{self.info.name} has no classes")

    async def still(self, data: bytes) -> Features:
        """The feature ``float32[1, D]`` of an encoded picture.

        Raises:
            BadInput: it does not decode, or is too large.
            NeedsVideo: the model takes clips.
        """
        self.require_pictures()
        return await self._embedded(partial(self._stills.prepared, data))

    async def picture(self, decode: Callable[[], NDArray[np.uint8]]) -> Features:
        """The feature ``float32[1, D]`` of the RGB picture ``uint8[h, w, 3]`` that a call makes, off the event loop.

        Raises:
            BadInput: the call raised an ``InputError``.
            NeedsVideo: the model takes clips.
        """
        self.require_pictures()
        return await self._embedded(partial(self._prepared, decode))

    async def stills(self, encoded: Sequence[bytes]) -> Features:
        """The features ``float32[T, D]`` of several encoded pictures, T at least 1; raises as ``still`` does."""
        return np.concatenate(await asyncio.gather(*map(self.still, encoded)))

    async def prepared(self, pictures: Pictures) -> Features:
        """The features ``float32[T, D]`` of model inputs ``uint8[T, H, W, 3]``, T at least 1.

        Raises:
            NeedsVideo: the model takes clips.
        """
        self.require_pictures()
        return await self._batcher.embed(pictures)

    async def video(self, file: IO[bytes], *, size_bytes: int, rule: SamplingRule) -> Moments:
        """The features of a video's samples, as the batch job picks, decodes and embeds them.

        Raises:
            BadInput: nothing of it can be used.
            TooLong: it lasts longer, or has more samples, than one request may have.
        """
        marks: list[FrameMark] = []
        features: list[Features] = [np.empty((0, self.info.dim), np.float32)]
        missing: list[Quarantined] = []
        ends: list[WindowEnd] = []
        try:
            async with self._videos.decoding(PostedFile(file, size_bytes=size_bytes), rule) as decoding:
                end_s = decoding.plan.facts.duration_s
                async for samples in decoding.segments:
                    rows = await self.computed(partial(rows_of, samples, self._windows))
                    marks += rows.marks
                    ends += rows.ends
                    if len(marks) > self.limits.max_samples:
                        raise TooLong(f"the video has more than {self.limits.max_samples} samples")
                    for pictures in rows.inputs:
                        features.append(await self._batcher.embed(pictures))
                    if samples.failure is not None:
                        missing.append(samples.failure)
                        self._note_failure(samples.failure.reason, samples.failure.detail)
        except InputError as error:
            raise self._refusal(error) from None
        if missing and not marks:
            raise BadInput(missing[0].reason, public_detail(missing[0].reason, missing[0].detail))
        return Moments(
            marks=tuple(marks),
            features=np.concatenate(features),
            end_s=end_s,
            missing=tuple(missing),
            ends=None if self._windows is None else tuple(ends),
        )

    async def probabilities(self, features: Features) -> Features:
        """The output of the model's own classification layer for features, as probabilities ``float32[T, classes]``.

        Raises:
            NotFound: it has none.
        """
        self.require_classes()
        return await self.computed(partial(self._embedder.probabilities, features))

    async def ranking(self, features: Features, *, top: int) -> Ranking:
        """The ``top`` most probable classes of each of the features.

        Raises:
            NotFound: the model does not classify.
        """
        probabilities = await self.probabilities(features)
        return await self.computed(partial(Ranking.best, probabilities, classes=self.classes, top=top))

    async def computed(self, call: Callable[[], Result]) -> Result:
        """What a call computes, in a thread beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def close(self) -> None:
        """End the decoder processes, and the threads when they have finished."""
        self.heads.close()
        self._stills.close()
        await self._videos.close()
        self._lanes.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _embedded(self, prepare_picture: Callable[[], Pictures]) -> Features:
        try:
            with self._batcher.coming():
                picture = await self.computed(prepare_picture)
            return await self._batcher.embed(picture)
        except InputError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: InputError) -> BadInput:
        self._note_failure(error.reason, error.detail)
        return BadInput.of(error)

    def _note_failure(self, reason: str, detail: str) -> None:
        """The log has the whole detail; the client may be told less."""
        self._metrics.failed(reason)
        _LOG.info("a body did not decode", extra={"reason": reason, "detail": detail})

    def _prepared(self, decode: Callable[[], NDArray[np.uint8]]) -> Pictures:
        return prepare(decode(), preprocessing=self.info.preprocessing)[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Classes:
    labels: tuple[str, ...]
    embedder: Embedder

    def probabilities(self, features: Features) -> Features:
        return self.embedder.probabilities(features)


def _embedder(settings: Settings) -> Embedder:
    requested = settings.model
    model = load_model(requested.name, weights=requested.weights, window=requested.window)
    _require_digest(model.info, requested)
    return Embedder(
        model,
        precision=requested.precision or ("fp16" if settings.num_gpus else "fp32"),
        compile=requested.compile,
        batch_size=requested.batch_size or (_GPU_BATCH if settings.num_gpus else _CPU_BATCH),
        num_threads=requested.num_threads,
    )


def _head_folder(settings: Settings, info: ModelInfo, precision: Precision) -> HeadFolder | None:
    uri = settings.heads.folder
    return None if uri is None else HeadFolder(uri, model=info, precision=precision)


def _require_digest(info: ModelInfo, requested: ModelSettings) -> None:
    if requested.weights_digest not in (None, info.weights_digest):
        raise UsageError(
            f"--weights {requested.weights}: their digest is {info.weights_digest}, and not {requested.weights_digest} "
            "as in what names them; give those that it was made with"
        )
