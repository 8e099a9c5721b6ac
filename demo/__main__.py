"""Three clips in, one dataset out, a head that learns from it, and what is found in it: ``make demo``.

The clips are slow pans over photographs that the wheel of scikit-image ships (all CC0): nothing is downloaded. Towards
their end the camera loses its focus: that is what the head learns to tell.
"""

import contextlib
import importlib.util
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import av
import numpy as np
import pyarrow.dataset as pads
import torch
from av.video.stream import VideoStream
from PIL import Image, ImageFilter
from timm.data.imagenet_info import ImageNetInfo

from pipeline.cli.exit_status import StopSignals, exit_status_of
from pipeline.cli.main import cli
from pipeline.models.zoo.timm_models import lite0_weights

OUT = Path(__file__).resolve().parents[1] / "demo-output"
PHOTOGRAPHS = {"cat": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}
WIDTH_PX, HEIGHT_PX, RATE_HZ, DURATION_S = 640, 360, 25, 8
SHARP_UNTIL_S, BLURRED_FROM_S, BLUR_PX = 4.5, 5.5, 6
SPLIT = {"cat": "train", "coffee": "train", "rocket": "test"}


def photograph(name: str) -> Image.Image:
    """One of the photographs in the wheel of scikit-image, which is not imported: it would take seconds."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        sys.exit("The demo's photographs come with scikit-image: run it by `make demo`, which installs that.")
    return Image.open(Path(package.origin).with_name("data") / name).convert("RGB")


def pan(picture: Image.Image) -> Iterator[Image.Image]:
    """Frames that travel from the upper left of a picture to its lower right and come closer on the way."""
    widest = min(picture.width, picture.height * WIDTH_PX / HEIGHT_PX)
    num_frames = RATE_HZ * DURATION_S
    for index in range(num_frames):
        progress = index / (num_frames - 1)
        width = widest * (1 - 0.25 * progress)
        height = width * HEIGHT_PX / WIDTH_PX
        left, top = (picture.width - width) * progress, (picture.height - height) * progress
        box = (left, top, left + width, top + height)
        frame = picture.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC, box=box)
        blur = (index / RATE_HZ - SHARP_UNTIL_S) / (BLURRED_FROM_S - SHARP_UNTIL_S)
        yield frame.filter(ImageFilter.GaussianBlur(BLUR_PX * min(1, blur))) if blur > 0 else frame


def write_clip(path: Path, picture: Image.Image) -> None:
    """Encode a pan over ``picture`` as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE_HZ, options={"crf": "20", "g": "100"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for frame in pan(picture):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_clips(folder: Path) -> None:
    """One clip a photograph."""
    folder.mkdir(parents=True)
    for subject, name in PHOTOGRAPHS.items():
        write_clip(folder / f"{subject}.mp4", photograph(name))


def write_query(path: Path) -> None:
    """A picture to search by: the cat's photograph, smaller than the clip shows it and as a JPEG of low quality."""
    picture = photograph(PHOTOGRAPHS["cat"])
    picture.resize((picture.width // 2, picture.height // 2)).save(path, quality=40)


def write_labels(path: Path) -> None:
    """Two labelled ranges a clip: what a person would write down who has watched them."""
    lines = ["uri,start_s,end_s,label,split"]
    for subject, part in SPLIT.items():
        lines.append(f"{subject}.mp4,0,{SHARP_UNTIL_S},sharp,{part}")
        lines.append(f"{subject}.mp4,{BLURRED_FROM_S},{DURATION_S},blurred,{part}")
    path.write_text("\n".join(lines) + "\n")


def run(*command: str) -> None:
    """Show a command and run it; its failure is the demo's."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    executable = Path(sys.executable).with_name(command[0])
    status = subprocess.run([str(executable), *command[1:]], cwd=OUT, check=False).returncode
    if status:
        sys.exit(status)


def run_here(*command: str) -> None:
    """The same in this process, which has torch in memory already: another one would take seconds to load it."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    with contextlib.chdir(OUT):
        status = exit_status_of(lambda: cli(list(command[1:]), standalone_mode=False), StopSignals())
    if status:
        sys.exit(status)


def show_rows(lake: Path) -> None:
    """Print the first features of each clip, and what ImageNet's last layer makes of all of them."""
    columns = ["uri", "time_s", "feature"]
    rows = pads.dataset(lake / "features").to_table(columns).sort_by([("uri", "ascending"), ("time_s", "ascending")])
    print(
        f"\n{rows.num_rows} rows in {lake.name}/features, each a moment and its {rows.schema.field('feature').type}:\n"
    )
    for uri, moments in groupby(rows.to_pylist(), key=lambda row: str(row["uri"])):
        of_clip = list(moments)
        name = Path(uri).name
        for row in of_clip[:3]:
            start = " ".join(f"{number:6.3f}" for number in row["feature"][:4])
            print(f"  {name:<11} {row['time_s']:5.2f} s   [{start} ...]")
        sharp = [row["feature"] for row in of_clip if row["time_s"] < SHARP_UNTIL_S]
        print(f"  {name:<11} looks like: {label(sharp)}\n")


def show_predictions(folder: Path) -> None:
    """Print what the head says of the clip that it has not learned from."""
    rows = pads.dataset(folder / "predictions").to_table(["uri", "time_s", "label", "probability"])
    print(f"\nWhat it says of the clip that it has not seen, of {rows.num_rows} rows in {folder.name}/predictions:\n")
    for row in rows.sort_by([("uri", "ascending"), ("time_s", "ascending")]).to_pylist():
        if SPLIT[Path(row["uri"]).stem] == "test" and row["time_s"] % 1 == 0:
            print(f"  {Path(row['uri']).name}  {row['time_s']:5.2f} s   {row['label']:<8} {row['probability']:.2f}")


def label(features: list[list[float]]) -> str:
    """ImageNet's name for the mean of some features: a classifier needs them alone, and no picture."""
    weights = torch.load(io.BytesIO(lite0_weights()), map_location="cpu", weights_only=True)
    weight, bias = list(weights.values())[-2:]
    probabilities = (torch.tensor(features).mean(0) @ weight.T + bias).softmax(0)
    best = int(probabilities.argmax())
    return f"{ImageNetInfo().index_to_description(best)} ({probabilities[best]:.0%})"


def main() -> None:
    """Make the clips, extract their features, read them back, teach a head what is in focus, and find moments."""
    shutil.rmtree(OUT, ignore_errors=True)
    write_clips(OUT / "demo-clips")
    folder = os.path.relpath(OUT)
    print(f"Made {len(PHOTOGRAPHS)} clips of {DURATION_S} s, {WIDTH_PX}x{HEIGHT_PX}, in {folder}/demo-clips")
    run("vidlake", "extract", "demo-clips", "--out", "demo-lake", "--sample", "fps:4")
    show_rows(OUT / "demo-lake")
    write_labels(OUT / "demo-labels.csv")
    run("vidlake", "train", "demo-lake", "--labels", "demo-labels.csv", "--out", "demo-heads/focus")
    run("vidlake", "predict", "demo-lake", "--head", "demo-heads/focus", "--out", "demo-lake")
    show_predictions(OUT / "demo-lake")
    query = f"select uri, time_s, label from '{folder}/demo-lake/predictions/*.parquet'"
    print(f'\nThe same with DuckDB:\n\n  .venv/bin/python -c "import duckdb; print(duckdb.sql(\\"{query}\\"))"')
    run_here("vidlake", "search", "demo-lake", "--words", "espresso", "--top", "3")
    write_query(OUT / "cat.jpg")
    run_here("vidlake", "search", "demo-lake", "--picture", "cat.jpg", "--top", "3")
    print(
        f"\nThe same on a page, with pictures:\n\n  .venv/bin/vidlake serve --lake {folder}/demo-lake\n\n"
        "and then http://127.0.0.1:8000/ in a browser."
    )


if __name__ == "__main__":
    main()
