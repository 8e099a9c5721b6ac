"""The model of a dataset, for queries: pictures and videos become vectors as the dataset's own rows did."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, UsageError
from pipeline.explore.class_layer import ClassLayer
from pipeline.explore.labels import LabelScorer, labels_of
from pipeline.explore.queries import LabelQuery, SequenceQuery, VectorQuery, query_rule
from pipeline.lake.dataset import DatasetInfo
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.process.still_sandbox import StillSandbox
from pipeline.models.embedder import Embedder
from pipeline.models.preprocess import one_thread, prepare_part
from pipeline.models.registry import load_model
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import row_marks
from pipeline.records.segments import SegmentSamples, TimeRange
from pipeline.records.windows import Windows
from pipeline.stages.decode import decode_video
from pipeline.stages.plan import sizing_for
from pipeline.stages.windows import clip_inputs
from pipeline.storage.schemes import open_reader

MOST_QUERY_SAMPLES = 4000
"""Of a video that is looked for: more would be searched for minutes."""


class QueryModel:
    """The model that made a dataset. Decoders run in processes of their own.

    Attributes:
        labels: what its classification layer's outputs mean.
        name: tells its numbers from all others.
    """

    def __init__(self, info: DatasetInfo, *, limits: DecodeLimits | None = None) -> None:
        """Load it; ``info`` is trusted (see ``lake.trust``).

        Raises:
            UsageError: there is no such model, or the weights are not those that the dataset was made with.
        """
        config = info.config
        model = load_model(config.model.name, weights=info.weights, window=config.model.preprocessing.window)
        if model.info.weights_digest != config.model.weights_digest:
            raise UsageError(
                f"--weights {info.weights}: their digest is {model.info.weights_digest}, and not "
                f"{config.model.weights_digest} as in the dataset; give those that it was made with"
            )
        self._config = config
        self._limits = limits or DecodeLimits()
        self._embedder = Embedder(model, precision=config.precision, batch_size=8)
        classes = self._embedder.classes or tuple(map(str, range(self._embedder.num_classes)))
        self.labels: tuple[str, ...] = classes
        self.name: str = config.model.weights_digest

    def picture(self, locator: str) -> VectorQuery:
        """A picture file, JPEG, PNG, WebP or BMP.

        Raises:
            UsageError: it cannot be read, or is no picture; or the model takes clips.
            StorageError: a store failed.
        """
        preprocessing = self._config.model.preprocessing
        if preprocessing.window is not None:
            raise UsageError(f"--picture: {self._config.model.name} takes clips of samples: give --video or --at")
        prepared = np.empty((1, *preprocessing.crop_px, 3), np.uint8)
        try:
            with open_reader(locator) as reader, StillSandbox(self._limits) as sandbox, one_thread():
                still = sandbox.decode(reader, preprocessings=(preprocessing,))
                prepare_part(still.pixels, whole_px=still.whole_px, preprocessing=preprocessing, into=prepared[0])
        except InputError as error:
            raise UsageError(f"--picture {error}") from None
        return VectorQuery(vector=self._embedder.embed([prepared])[0])

    def video(self, locator: str) -> SequenceQuery:
        """A video file, sampled more densely than the lake.

        Raises:
            UsageError: it cannot be read, or nothing of it decodes, or it is too long.
            StorageError: a store failed.
        """
        config = self._config
        rule = query_rule(config.sample, is_of_clips=config.windows is not None)
        times, vectors = [], [np.empty((0, config.model.dim), np.float32)]
        try:
            with open_reader(locator) as reader, Sandbox(self._limits) as sandbox:
                job = Job(uri=reader.uri, rule=rule, time_range=TimeRange(), windows=config.windows)
                preprocessings = (config.model.preprocessing,)
                plan = sandbox.plan(reader, job, sizing=sizing_for(preprocessings))
                segments = decode_video(
                    sandbox, reader, job, facts=plan.facts, segments=plan.segments, preprocessings=preprocessings
                )
                failure = None
                for samples in segments:
                    failure = failure or samples.failure
                    here, inputs = _rows_of(samples, config.windows)
                    times += here
                    if len(times) > MOST_QUERY_SAMPLES:
                        raise UsageError(f"--video {locator}: has more than {MOST_QUERY_SAMPLES} samples: cut it")
                    if here:
                        vectors.append(self._embedder.embed(inputs))
        except InputError as error:
            raise UsageError(f"--video {error}") from None
        if not times:
            raise UsageError(f"--video {locator}: {'has no picture' if failure is None else failure.detail}")
        ends = max(plan.facts.duration_s, times[-1])
        return SequenceQuery(times_s=np.array(times), vectors=np.concatenate(vectors), end_s=ends)

    def words(self, text: str) -> VectorQuery | LabelQuery:
        """What a text means: by the model's text tower where it has one, else by its classes.

        Raises:
            UsageError: no class is called so, and the nearest ones are named; or there are no classes.
        """
        vector = self._embedder.embed_text(text)
        if vector is not None:
            return VectorQuery(vector=vector)
        if not self.labels:
            raise UsageError(f"--words: {self._config.model.name} has no classes: give --head HEADS/NAME")
        columns = labels_of(text, self.labels, whose=f"model {self._config.model.name}")
        return LabelQuery(scorer=self.class_layer, columns=columns)

    @property
    def class_layer(self) -> LabelScorer:
        """Its classification layer, by whose classes words are understood."""
        layer = self._embedder.class_layer
        return self if layer is None else ClassLayer(*layer, self.labels)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """By its classification layer: ``float32[N, labels]``.

        Raises:
            UsageError: it has none.
        """
        return self._embedder.probabilities(features)


def _rows_of(samples: SegmentSamples, windows: Windows | None) -> tuple[list[float], list[NDArray[np.uint8]]]:
    """When the rows of a segment are shown, and what the model takes for them."""
    if windows is None:
        return [mark.time_s for mark in samples.marks], [samples.pixels[0]]
    marks, _ = row_marks(samples, windows)
    return [mark.time_s for mark in marks], clip_inputs(samples.pixels[0], samples.clips or (), length=windows.length)
