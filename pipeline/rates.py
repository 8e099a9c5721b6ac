"""What `vidlake bench` finds."""

from dataclasses import dataclass

from pipeline.sizes import Hardware


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
