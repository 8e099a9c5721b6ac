"""The results of the commands, and the moments of a run that are worth telling."""

import time
from dataclasses import asdict, dataclass

from pipeline.lake.model_folders import folder_above
from pipeline.lake.tables import Totals
from pipeline.records.documents import Document
from pipeline.records.resources import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputForecast:
    """What an ``extract`` would do for one model, or for the thumbnails."""

    num_done: int
    """Of the videos' segments, settled already in its dataset."""
    num_segments: int
    num_samples: int
    model_s: float
    """On one model actor, with its share of a machine of the cluster."""
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an ``extract`` would do: what several models lack is decoded once for all of them."""

    num_videos: int
    num_unusable: int
    num_done: int
    """Of the videos' segments, settled already in each dataset."""
    num_segments: int
    hours: float
    num_samples: int
    decode_s: float
    """On one core."""
    model_s: float
    """Of all models, on one model actor."""
    num_bytes: int
    outputs: dict[str, OutputForecast]
    """By the models' names; ``thumbnails`` too, where they were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRate:
    """What decoding to model input gave; ``cpu_s`` of one core, planning included."""

    num_videos: int
    num_unusable: int
    num_samples: int
    video_s: float
    cpu_s: float

    @property
    def per_core_s(self) -> float:
        """Samples a core-second."""
        return self.num_samples / self.cpu_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A machine's rates, and what they come to."""

    decode: DecodeRate
    decode_per_core_s: float
    model_per_s: dict[int, float]
    """Samples a second of one model actor, by batch size."""
    batch_size: int
    """The smallest that is about as fast as the fastest."""
    device: str
    hardware: Hardware
    decode_workers: int
    num_actors: int
    expected_per_s: float
    """Samples a second of a job on this machine, start-up aside."""
    bottleneck: str
    """``decode`` or ``model``."""
    cores_per_actor: float
    """Cores of decoding that keep one model actor busy."""


class Clockwork:
    """Seconds since the ``command`` began, at the moments worth telling."""

    def __init__(self, command: str = "extract") -> None:
        self.command = command
        self.began = time.time()
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Note that ``name`` is reached now."""
        self.marks[name] = round(time.time() - self.began, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What the dataset of a model holds when a run has finished."""

    model: str
    out: str
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run did, and what its datasets then hold."""

    datasets: tuple[Filled, ...]
    seconds: float
    num_samples: int
    """That were decoded and embedded, each once however many models saw it."""
    video_s: float
    num_bytes: int
    decoded_frames: int
    """That came out of the decoder, samples or not."""
    marks_s: dict[str, float]
    """Seconds from the command to: the models are known, Ray is up, the plan is made, all is committed, the end."""

    @property
    def has_quarantined(self) -> bool:
        """Whether anything stands in quarantine, from this run or before."""
        return any(each.totals.reasons for each in self.datasets)

    def to_json(self) -> Document:
        """The document of ``--json``: with ``out`` and ``totals`` of the dataset, or of each of several ``models``."""
        document = asdict(self)
        filled = document.pop("datasets")
        if len(filled) == 1:
            return {"out": filled[0]["out"], "totals": filled[0]["totals"], **document}
        models = {each["model"]: {"out": each["out"], "totals": each["totals"]} for each in filled}
        return {"out": folder_above(filled[0]["out"]), "models": models, **document}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPart:
    """What one task of ``predict`` did."""

    num_samples: int
    num_units: int
    num_bytes: int
    """Of the file that it published; 0: it was there already."""
    label_counts: tuple[int, ...]
    """How many units each label is the most probable one of, in the order of the head's labels."""
    is_refused: bool
    """Whether another run has replaced the file meanwhile, so that it has to be looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What a finished ``predict`` did."""

    out: str
    head: str
    """As ``NAME@VERSION``."""
    digest: str
    num_videos: int
    """That got predictions, by this run like what follows."""
    num_units: int
    labels: dict[str, int]
    """How many units each label is the most probable one of."""
    num_files: int
    num_bytes: int
    num_waiting: int
    """Videos with segments that are not settled yet."""
    num_undated: int
    """Videos that are left out, for nobody knows whether they lie between ``--since`` and ``--until``."""
    seconds: float
    marks_s: dict[str, float]
