"""What takes the place of decoders and model on Ray's workers: their measured costs, slept through.

A segment is that of an hour of 720p at ``fps:1``: about 200 samples, eight seconds of decoding on one core, a tenth of
a second of a GPU. Its pictures are a call of the model by themselves, and here too, of fewer bytes.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.extract import embedding
from pipeline.extract.context import RunContext
from pipeline.extract.model_actors import ModelActors
from pipeline.extract.tally import Counts, Worked
from pipeline.records.rows import embedded_rows, output_rows
from pipeline.records.schemas import samples_schema

NUM_SAMPLES = 200
DECODE_S = 8.0
MODEL_S = 0.1
DIM = 8
_PIXELS = pa.py_buffer(bytes(60_000))
"""For 30 MB."""


def decoder(factor: float) -> Callable[..., Iterator[pa.Table]]:
    """In the place of ``dataflow.decode_and_embed``, ``factor`` times as fast."""

    def decode(tasks: pa.Table, *, context: RunContext) -> Iterator[pa.Table]:
        for row in tasks.to_pylist():
            began = time.time()
            time.sleep(DECODE_S / factor)
            samples = _samples(row)
            counts = Counts(num_segments=1, num_samples=NUM_SAMPLES, num_bytes=samples.nbytes)
            context.tally.add(Worked(stage="decode", began=began, counts=counts))
            yield samples

    def decode_and_embed(tasks: pa.Table, *, context: RunContext, models: ModelActors) -> Iterator[pa.Table]:
        samples = decode(tasks, context=context)
        yield from embedding.embedded(samples, models=models, samples_per_call=NUM_SAMPLES)

    return decode_and_embed


def model(factor: float) -> type:
    """In the place of ``operators.Embed``, ``factor`` times as fast."""

    class Embed:
        def __init__(self, *, context: RunContext) -> None:
            self._tally = context.tally

        def __call__(self, samples: pa.Table) -> pa.Table:
            began = time.time()
            time.sleep(len(samples) * MODEL_S / factor)
            features = np.zeros((len(samples) * NUM_SAMPLES, DIM), np.float32)
            embedded = output_rows(samples, [features])
            counts = Counts(num_segments=len(samples), num_samples=len(features))
            self._tally.add(Worked(stage="embed", began=began, counts=counts))
            return embedded

    return Embed


def embedded(video_id: str, index: int, features: Any) -> pa.Table:
    """An ``EMBEDDED`` row of a segment."""
    segment = {"index": index, "start_s": 0.0, "end_s": 600.0}
    row = {"video_id": video_id, "attempts": 1, "uri": f"/archive/{video_id}.mp4", "segment": segment}
    outputs = output_rows(_samples(row | {"facts": {"time_base": "1/15360"}}), [features])
    return embedded_rows(outputs, place=0)


def _samples(task: dict[str, Any]) -> pa.Table:
    """The decoded segment of a ``TASKS`` row."""
    segment = task["segment"]
    at = np.arange(NUM_SAMPLES) + segment["index"] * NUM_SAMPLES
    row = {
        "video_id": task["video_id"],
        "segment": segment["index"],
        "attempts": task["attempts"],
        "reason": None,
        "detail": None,
        "missing_start_s": None,
        "missing_end_s": None,
        "num_samples": NUM_SAMPLES,
        "num_corrupt": 0,
        "video_s": 600.0,
        "decoded_frames": NUM_SAMPLES,
        "uri": task["uri"],
        "time_base": task["facts"]["time_base"],
        "recorded_at": None,
        "epoch": np.zeros(NUM_SAMPLES, np.int32),
        "pts": at * 15360,
        "time_s": at.astype(np.float64),
        "is_keyframe": np.zeros(NUM_SAMPLES, np.bool_),
        "is_corrupt": np.zeros(NUM_SAMPLES, np.bool_),
    }
    offsets = pa.py_buffer(np.array([0, _PIXELS.size], np.int64))
    pixels = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, _PIXELS])
    schema = samples_schema(1)
    columns = [pa.array([row[field.name]], field.type) for field in schema if field.name in row]
    return pa.Table.from_arrays([*columns, pixels], schema=schema)
