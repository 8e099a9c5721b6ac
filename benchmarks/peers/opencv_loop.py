"""The script that most people write: OpenCV, one frame at a time, one process."""

import cv2

from benchmarks.peers.archive_features import Asked, Model, picks_by_name, report, to_input, write


def main(asked: Asked) -> None:
    """Run it."""
    model, rows = Model(is_free=asked.is_free, is_fast=False), []
    for name, picks in picks_by_name(asked.archive, asked.rule).items():
        video, wanted, number = cv2.VideoCapture(str(asked.archive / name)), set(picks), 0
        while True:
            is_there, bgr = video.read()
            if not is_there:
                break
            if number in wanted:
                feature = model.features(to_input(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))[None])[0]
                rows.append({"file": name, "frame_index": number, "feature": feature})
            number += 1
    write(asked.out, rows)
    report(asked.out)


if __name__ == "__main__":
    main(Asked.parse())
