"""The model on one CUDA device: ``Embedder`` beside a bare loop of forward passes, and hardware decoding.

    python -m benchmarks.gpu [--seconds 5] [--compile] [--json FILE]

Needs torch, torchvision and numpy, and nothing else; decoding on the GPU is measured where PyAV is installed, and left
out otherwise. ``--device cpu`` tries the command out where there is no GPU. All inputs start in the
host's memory, as they come from decoders: the bare loop copies each batch to the device and its features back, one
thing after another; "resident" leaves the copies out and is what the device itself can do.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.models.embedder import DTYPES, Embedder, PicturesToFeatures
from pipeline.models.weights import parse_weights
from pipeline.models.zoo.torchvision_models import load
from pipeline.records.model_info import Precision

MODELS = ("resnet50", "convnext_tiny")
BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
_PRECISION: Precision = "bf16"


def synchronize(device: str) -> None:
    """Wait for the device; a CPU is done when the call is."""
    if device == "cuda":
        torch.cuda.synchronize()


def rate(call: Callable[[], int], *, seconds: float, device: str) -> list[float]:
    """Pictures a second of a call that says how many it did, in three stretches, once warm."""
    for _ in range(3):
        call()
    synchronize(device)
    rates = []
    for _ in range(3):
        done, began = 0, time.monotonic()
        while done == 0 or time.monotonic() - began < seconds / 3:
            done += call()
            synchronize(device)
        rates.append(done / (time.monotonic() - began))
    return rates


def measure_model(
    name: str, *, compile: bool, seconds: float, device: str, batch_sizes: Sequence[int], precision: Precision
) -> Iterator[dict[str, Any]]:
    """A row for each batch size."""
    for batch_size in batch_sizes:
        model = load(name, weights=parse_weights("random:0"))
        height, width = model.info.preprocessing.crop_px
        # Several batches a call, as the job gives them: what overlaps, overlaps between batches.
        pictures = np.random.default_rng(0).integers(0, 256, (8 * batch_size, height, width, 3), np.uint8)
        embedder = Embedder(model, precision=precision, batch_size=batch_size, compile=compile, device=device)
        embedder.warm_up()

        whole = PicturesToFeatures(
            model.backbone.eval().to(device, DTYPES[precision], memory_format=torch.channels_last),  # type: ignore[call-overload]
            preprocessing=model.info.preprocessing,
            dtype=DTYPES[precision],
        ).to(device)
        forward = torch.compile(whole, dynamic=False) if compile else whole
        resident = torch.from_numpy(pictures[:batch_size]).to(device)

        def embedded(embedder: Embedder = embedder, pictures: Any = pictures) -> int:
            return len(embedder.embed([pictures]))

        def bare(forward: Any = forward, pictures: Any = pictures, batch_size: int = batch_size) -> int:
            with torch.inference_mode():
                for at in range(0, len(pictures), batch_size):
                    forward(torch.from_numpy(pictures[at : at + batch_size]).to(device)).cpu()
            return len(pictures)

        def on_device(forward: Any = forward, resident: Any = resident) -> int:
            with torch.inference_mode():
                forward(resident)
            return len(resident)

        ways: dict[str, Callable[[], int]] = {"embedder": embedded, "bare loop": bare, "resident": on_device}
        stretches = {way: rate(call, seconds=seconds, device=device) for way, call in ways.items()}
        yield {
            "model": name,
            "compile": compile,
            "batch": batch_size,
            **{way: statistics.median(rates) for way, rates in stretches.items()},
            "stretches": stretches,
            "peak_bytes": _peak_bytes(device),
        }


def _peak_bytes(device: str) -> int:
    """The most memory of the device since the last call; 0 of a CPU."""
    if device != "cuda":
        return 0
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most


def measure_decoding(*, num_frames: int = 600) -> dict[str, Any]:
    """Frames a second of NVDEC through PyAV, frames left on the device, beside one thread of software decoding."""
    try:
        import av
        from av.codec.hwaccel import HWAccel
    except ImportError as error:
        return {"skipped": f"PyAV is not installed ({error})"}
    body = _clip(num_frames)
    found: dict[str, Any] = {}
    for name, hwaccel in {"NVDEC": HWAccel("cuda", is_hw_owned=True), "one CPU thread": None}.items():
        try:
            rates = []
            for _ in range(3):
                with av.open(io.BytesIO(body), "r", hwaccel=hwaccel) as container:
                    stream = container.streams.video[0]
                    stream.codec_context.thread_count = 1
                    began = time.monotonic()
                    rates.append(sum(1 for _ in container.decode(stream)) / (time.monotonic() - began))
            found[name] = statistics.median(rates)
        except (av.FFmpegError, RuntimeError, ValueError, NotImplementedError) as error:
            found[name] = f"not here: {error}"
    return found


def _clip(num_frames: int) -> bytes:
    """1280x720 H.264, encoded here."""
    import av

    file = io.BytesIO()
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (1080, 1920, 3), np.uint8)
    wide = wide.reshape(135, 8, 240, 8, 3).mean((1, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(num_frames):
            left, top = number % 640, number % 360
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(wide[top : top + 720, left : left + 1280]), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="a figure")
    parser.add_argument("--compile", action="store_true", help="compiled as well")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--models", default=",".join(MODELS), help="of torchvision; without it %(default)s")
    parser.add_argument("--batches", default=",".join(map(str, BATCH_SIZES)), help="sizes; without it %(default)s")
    parser.add_argument("--precision", choices=tuple(DTYPES), default=_PRECISION)
    parser.add_argument("--json", type=Path)
    requested = parser.parse_args()
    if requested.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --device cpu tries the command out")

    device = torch.cuda.get_device_name() if requested.device == "cuda" else "CPU"
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "rows": []}
    print(f"{device}, torch {torch.__version__}, {requested.precision}, pictures a second")
    print(f"{'model':<16}{'batch':>6}{'Embedder':>12}{'bare loop':>12}{'resident':>12}{'ratio':>8}{'peak GB':>9}")
    for name in requested.models.split(","):
        for is_compiled in (False, True) if requested.compile else (False,):
            rows = measure_model(
                name,
                compile=is_compiled,
                seconds=requested.seconds,
                device=requested.device,
                batch_sizes=[int(size) for size in requested.batches.split(",")],
                precision=requested.precision,
            )
            for row in rows:
                found["rows"].append(row)
                _show(row)
    found["decoding"] = measure_decoding() if requested.device == "cuda" else {}
    for name, frames in found["decoding"].items():
        print(f"{name}: {frames if isinstance(frames, str) else f'{frames:.0f} frames/s of 1280x720 H.264'}")
    if requested.json:
        requested.json.write_text(json.dumps(found, indent=2))


def _show(row: dict[str, Any]) -> None:
    label = f"{row['model']}{' +c' if row['compile'] else ''}"
    figures = f"{row['embedder']:>12.0f}{row['bare loop']:>12.0f}{row['resident']:>12.0f}"
    ratio = row["embedder"] / row["bare loop"]
    print(f"{label:<16}{row['batch']:>6}{figures}{ratio:>8.2f}{row['peak_bytes'] / 1e9:>9.1f}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
