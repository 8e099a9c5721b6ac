"""vidlake's own decoding without Ray, its killable child included: the one place here that knows its inside."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers.decoders import Picture
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.preprocess import use_one_thread
from pipeline.models.registry import load_model
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import TimeRange
from pipeline.stages.decode import decode_video
from pipeline.stages.plan import sizing_for
from pipeline.storage.schemes import open_reader


class Ours:
    """Plans and decodes files, as the model ``resnet18`` wants them."""

    def __init__(self) -> None:
        use_one_thread()
        self._sandbox = Sandbox(DecodeLimits())
        self._preprocessing = load_model("resnet18", weights="random:0").info.preprocessing

    @property
    def child_pid(self) -> int | None:
        """Of the decoder process."""
        return self._sandbox.pid

    def inputs(self, path: Path, rule: str) -> Iterator[Picture]:
        """The model's inputs of a file, ``uint8[h, w, 3]`` each; planning it is part of the work."""
        job = Job(uri=str(path), rule=parse_rule(rule), time_range=TimeRange())
        with open_reader(str(path)) as reader:
            plan = self._sandbox.plan(reader, job, sizing=sizing_for([self._preprocessing]))
            segments = decode_video(
                self._sandbox,
                reader,
                job,
                facts=plan.facts,
                segments=plan.segments,
                preprocessings=(self._preprocessing,),
            )
            for samples in segments:
                yield from samples.pixels[0]
