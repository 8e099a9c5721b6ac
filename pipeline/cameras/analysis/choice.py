"""What ``--detect`` asks for, and the detector that this is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from pipeline.cameras.analysis.analysis import DETECT_MOTION, DETECT_OFF
from pipeline.cameras.analysis.detector import Detector
from pipeline.errors import UsageError


class DetectorKind(StrEnum):
    """Who finds the objects."""

    OFF = "off"
    """Nobody: there are none."""
    MOTION = "motion"
    """The analysis itself, by what moves."""
    EXTENSION = "extension"
    """A server."""
    NETWORK = "network"
    """A network of torchvision's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorChoice:
    """The value of ``--detect``, and what kind of detector it means."""

    kind: DetectorKind
    detect: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``off``, ``motion``, an address, or a name; whether a detector is called so shows when it is loaded.

        Raises:
            UsageError: it is none of these.
        """
        if text in (DETECT_OFF, DETECT_MOTION):
            return cls(kind=DetectorKind(text), detect=text)
        if "://" in text:
            return cls(kind=DetectorKind.EXTENSION, detect=_checked(text))
        if not text.isidentifier():
            raise UsageError(
                f"bad --detect {text!r}: use off, motion, a detector's name, or http(s)://HOST[:PORT]/PATH"
            )
        return cls(kind=DetectorKind.NETWORK, detect=text)

    def open(self, *, weights: str = "default", device: str | None = None) -> Detector | None:
        """The detector to give to an ``Analysis``; none where it needs none.

        A network is loaded into this process, which takes seconds and much memory: streams had better share one.

        Args:
            weights: the value of ``--detect-weights``.
            device: where a network computes; a GPU if there is one.

        Raises:
            UsageError: there is no such network, or its weights do not fit.
            WeightsError: its weights could not be downloaded.
        """
        match self.kind:
            case DetectorKind.EXTENSION:
                from pipeline.cameras.analysis.extension import ExtensionDetector

                return ExtensionDetector(self.detect)
            case DetectorKind.NETWORK:
                from pipeline.cameras.analysis.network_detector import NetworkDetector
                from pipeline.models.weights import parse_weights
                from pipeline.models.zoo.detectors import TorchvisionDetector

                network = TorchvisionDetector(self.detect, weights=parse_weights(weights), device=device)
                return NetworkDetector(network.detect)
            case DetectorKind.OFF | DetectorKind.MOTION:
                return None


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_http = False
    if not is_http:
        raise UsageError("bad --detect: an extension's address is http(s)://HOST[:PORT]/PATH")
    return address
