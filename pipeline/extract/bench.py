"""How fast this machine decodes a user's own videos, how fast the model is, and which holds the other up."""

import os
import time
from collections.abc import Iterator
from itertools import islice

import psutil

from pipeline.cluster.memory import keep_what_is_freed
from pipeline.errors import InputError, Unreadable, UsageError
from pipeline.extract.progress import Display
from pipeline.extract.request import ExtractRequest
from pipeline.extract.results import DecodeRate, Measured
from pipeline.extract.sizes import Work, choose_sizes
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import Source
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.shots import ShotsRule
from pipeline.models.embedder import Embedder, gpu_names
from pipeline.models.embedder_pool import EmbedderPool
from pipeline.models.network import LoadedModel
from pipeline.models.preprocess import one_thread
from pipeline.models.registry import load_model
from pipeline.records.model_info import ModelInfo
from pipeline.records.resources import Hardware
from pipeline.records.segments import MAX_SAMPLES, SegmentSamples, TimeRange
from pipeline.records.windows import Windows
from pipeline.stages.decode import decode_video
from pipeline.stages.plan import sizing_for
from pipeline.storage.schemes import open_reader

_MOST_VIDEOS = 32
_CPU_BATCH_SIZES = (8, 16, 32, 64)
_GPU_BATCH_SIZES = (64, 128, 256, 512)
# A larger batch has to pay for the memory that it takes, and for the padding at a job's end.
_WORTH_IT = 1.03
# Of a job that is long enough for its sizes not to depend on it.
_LONG_JOB = Work(num_segments=10_000, num_samples=10_000 * MAX_SAMPLES, cost_s=1e6)


def measure(request: ExtractRequest, display: Display, *, seconds: float) -> Measured:
    """Decode the first videos of the input for about ``seconds``, and time the model.

    Raises:
        UsageError: the request does not fit, or none of the videos gives a sample.
        StorageError: a store failed.
    """
    if isinstance(request.rule, ShotsRule):
        raise UsageError("bench decodes without a lake, whose shots it could go by: give another --sample")
    gpus = gpu_names()
    hardware = Hardware(num_cpus=len(os.sched_getaffinity(0)), num_gpus=len(gpus), num_nodes=1)
    inputs = Inputs(request.inputs)
    if not gpus:
        keep_what_is_freed()  # as the actor that holds the model does
    choice, window = request.models[0], None if request.windows is None else request.windows.length
    model = load_model(choice.name, weights=choice.weights, window=window)
    display.say(f"decoding up to {_MOST_VIDEOS} videos for about {seconds:g} s")
    decode = _decode_rate(inputs, request, model.info, seconds=seconds)
    rates = dict(_model_rates(model, request, hardware, display))
    batch_size = next(size for size, rate in rates.items() if rate * _WORTH_IT >= max(rates.values()))
    sizes = choose_sizes(hardware, _LONG_JOB, request.run)
    model_per_s = rates[batch_size] * sizes.num_actors
    decode_per_s = decode.per_core_s * hardware.num_cpus
    # Without a GPU both live on the same cores, and share their time.
    together = min(decode_per_s, model_per_s) if gpus else 1 / (1 / decode_per_s + 1 / model_per_s)
    return Measured(
        decode=decode,
        decode_per_core_s=decode.per_core_s,
        model_per_s=rates,
        batch_size=batch_size,
        device=gpus[0] if gpus else "cpu",
        hardware=hardware,
        decode_workers=sizes.decode_workers,
        num_actors=sizes.num_actors,
        expected_per_s=together,
        bottleneck="decode" if decode_per_s < model_per_s else "model",
        cores_per_actor=rates[batch_size] / decode.per_core_s,
    )


def _decode_rate(inputs: Inputs, request: ExtractRequest, model: ModelInfo, *, seconds: float) -> DecodeRate:
    """Decode whole segments on one core, one video after another, until the time is up or no video is left."""
    num_videos = num_unusable = num_samples = 0
    video_s = cpu_s = 0.0
    end = time.monotonic() + seconds
    with one_thread(), Sandbox(request.run.limits) as sandbox:
        for source in islice(inputs, _MOST_VIDEOS):
            num_videos += 1
            began_s = ended_s = _cpu_s(sandbox)
            try:
                for samples in _decoded(source, sandbox, request, model):
                    num_samples += len(samples.marks)
                    video_s += samples.segment.end_s - samples.segment.start_s
                    ended_s = _cpu_s(sandbox)  # stopping early kills the decoder, whose time is then lost
                    if time.monotonic() > end:
                        break
            except InputError:
                num_unusable += 1
            cpu_s += max(0.0, ended_s - began_s)
            if time.monotonic() > end:
                break
    if not num_samples:
        raise UsageError(f"nothing to measure: no sample in {num_videos} videos; check INPUT and --sample")
    return DecodeRate(
        num_videos=num_videos, num_unusable=num_unusable, num_samples=num_samples, video_s=video_s, cpu_s=cpu_s
    )


def _decoded(source: Source, sandbox: Sandbox, request: ExtractRequest, model: ModelInfo) -> Iterator[SegmentSamples]:
    if source.failure is not None:
        raise Unreadable(source.uri, source.failure[1])
    preprocessing = model.preprocessing
    time_range = TimeRange(start=source.start_s, end=source.end_s)
    job = Job(uri=source.uri, rule=request.rule, time_range=time_range, windows=_windows(request, model))
    with open_reader(source.locator, expected=source.identity) as reader:
        plan = sandbox.plan(reader, job, sizing=sizing_for([preprocessing], duration_s=request.run.segment_seconds))
        yield from decode_video(
            sandbox, reader, job, facts=plan.facts, segments=plan.segments, preprocessings=(preprocessing,)
        )


def _cpu_s(sandbox: Sandbox) -> float:
    """CPU seconds of this process and of its decoder, which lives as long as nothing crashes it."""
    own = time.process_time()
    if sandbox.pid is None:
        return own
    times = psutil.Process(sandbox.pid).cpu_times()
    return own + times.user + times.system


def _model_rates(
    model: LoadedModel, request: ExtractRequest, hardware: Hardware, display: Display
) -> Iterator[tuple[int, float]]:
    usual = _GPU_BATCH_SIZES if hardware.num_gpus else _CPU_BATCH_SIZES
    for batch_size in (request.run.batch_size,) if request.run.batch_size else usual:
        display.say(f"the model in batches of {batch_size}")
        embedder = Embedder(
            model,
            precision=request.precision or hardware.usual_precision,
            compile=request.run.compile,
            batch_size=batch_size,
        )
        pool = EmbedderPool(embedder, num_workers=1)
        windows = _windows(request, model.info)
        yield batch_size, (1 if windows is None else windows.stride) / pool.seconds_per_sample()


def _windows(request: ExtractRequest, model: ModelInfo) -> Windows | None:
    length = model.preprocessing.window
    return None if length is None else request.windows or Windows(length=length, stride=length)
