"""Several models from one decoding pass beside the slowest of them alone, and shots beside decoding alone.

    python -m benchmarks.several_models [--archive FOLDER] [--rounds 3]

Whole commands, start-up and all, in turns. Where decoding is the bottleneck a further model should cost little.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.footage import copies_of, opened, synthesise, videos_of
from benchmarks.processes import Watched

RULE = "fps:0.2"
MODELS = ("video_cnn=random:0", "efficientnet_lite0", "resnet18=random:0")
SETS = {"slowest": MODELS[2:], "two": (MODELS[0], MODELS[2]), "three": MODELS}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archive", type=Path, help="a folder of videos; without it some are synthesised")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=6, help="of the archive, to be decoded as one")
    asked = parser.parse_args()
    archive = (asked.archive or synthesise(Path("benchmarks/out/clips"))).resolve()
    with tempfile.TemporaryDirectory(prefix="vidlake-bench-") as scratch:
        folder = Path(scratch)
        inputs = copies_of(archive, asked.copies, folder)
        rounds = [_one_round(inputs, folder) for _ in range(asked.rounds)]
    print(json.dumps({"rule": RULE, "rounds": rounds}))
    print("\n".join(_table(rounds)))


def _one_round(inputs: Path, folder: Path) -> dict[str, Any]:
    """Each set of models once, then shots and bare decoding of the same files."""
    found: dict[str, Any] = {}
    for name, models in SETS.items():
        words = [word for model in models for word in ("--model", model)]
        wall_s, answer = _vidlake(["extract", str(inputs), "--sample", RULE, *words], folder / "lake")
        frames = {json.loads(path.read_text())["decoded_frames"] for path in (folder / "lake").rglob("runs/*.json")}
        found[name] = {"wall_s": wall_s, "decoded_frames": answer.get("decoded_frames", max(frames, default=None))}
    found["shots"] = {"wall_s": _vidlake(["shots", str(inputs)], folder / "shots")[0]}
    began, frames_seen = time.process_time(), 0
    for path in videos_of(inputs):
        with opened(path) as (container, stream):
            stream.codec_context.thread_count = 1
            frames_seen += sum(1 for _ in container.decode(stream))
    found["decoding"] = {"cpu_s": time.process_time() - began, "frames": frames_seen}
    print(found, file=sys.stderr, flush=True)
    return found


def _vidlake(words: Sequence[str], out: Path) -> tuple[float, dict[str, Any]]:
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    with Watched([sys.executable, "-m", "pipeline", *words, "--out", str(out), "--json"]) as run:
        answer: dict[str, Any] = json.loads(run.wait())
    return time.monotonic() - began, answer


def _table(rounds: Sequence[dict[str, Any]]) -> list[str]:
    def median(name: str, what: str = "wall_s") -> float:
        return statistics.median(float(each[name][what]) for each in rounds)

    def ratio(name: str) -> str:
        each = [row[name]["wall_s"] / row["slowest"]["wall_s"] for row in rounds]
        return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"

    lines = ["| models | wall s | of the slowest alone |", "|---|---|---|"]
    lines += [f"| {', '.join(models)} | {median(name):.1f} | {ratio(name)} |" for name, models in SETS.items()]
    frames, shots_s = rounds[0]["decoding"]["frames"], median("shots")
    decoded_per_s = frames / median("decoding", "cpu_s")
    lines.append(
        f"shots: {frames / shots_s:.0f} frames/s in {shots_s:.1f} s; decoding by one thread: {decoded_per_s:.0f}"
    )
    return lines


if __name__ == "__main__":
    main()
