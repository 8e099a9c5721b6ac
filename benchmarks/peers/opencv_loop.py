"""The script that most people write: OpenCV, one frame at a time, one process."""

import sys
import time
from pathlib import Path

import cv2
import torch

from benchmarks.peers.archive_features import network, picks_by_name, report, to_input, write


def main(archive: Path, out: Path, rule: str) -> None:
    """ARCHIVE OUT RULE."""
    began = time.time()
    net, rows = network(), []
    for name, picks in picks_by_name(archive, rule).items():
        video, wanted, number = cv2.VideoCapture(str(archive / name)), set(picks), 0
        while True:
            is_there, bgr = video.read()
            if not is_there:
                break
            if number in wanted:
                with torch.inference_mode():
                    feature = net(to_input(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))[None])[0]
                rows.append({"file": name, "frame_index": number, "feature": feature.numpy()})
            number += 1
    write(out, rows)
    report(samples=len(rows), steady_per_s=len(rows) / (time.time() - began))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
