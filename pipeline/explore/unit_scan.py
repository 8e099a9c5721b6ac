"""Scores by what takes the samples of a unit together, such as a head of windows: a video at a time."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import UsageError
from pipeline.explore.labels import UnitScorer
from pipeline.explore.scanning import Scanned
from pipeline.explore.sources import Source, Unpacked
from pipeline.lake.known_videos import KnownVideos
from pipeline.records.ids import ID_BYTES
from pipeline.records.units import VideoSamples


def scan_units(
    sources: Sequence[Source], labels: UnitScorer, columns: Sequence[int], *, known: KnownVideos
) -> list[Scanned]:
    """The scores of all rows by what takes the samples of a unit together, a video at a time.

    Args:
        sources: all of them unpacked.
        labels: what gives them.
        columns: which labels: a row's score is their probability together.
        known: where videos end.

    Raises:
        UsageError: one is not unpacked.
    """
    if not all(isinstance(source, Unpacked) for source in sources):
        raise UsageError(
            "this head looks at several samples at once: it needs the unpacked copy, so leave out --no-cache"
        )
    scanned = [
        Scanned(rows=source.rows, scores=np.zeros(len(source.rows), np.float32))
        for source in sources
        if isinstance(source, Unpacked)
    ]
    ids = np.unique(np.concatenate([np.empty(0, f"S{ID_BYTES}"), *(each.rows.runs["video_id"] for each in scanned)]))
    for video_id, end_s in zip(ids, known.ends_of(ids).tolist(), strict=True):
        _score_video(scanned, video_id, labels, list(columns), end_s=None if np.isnan(end_s) else end_s)
    return scanned


def _score_video(
    scanned: Sequence[Scanned], video_id: bytes, labels: UnitScorer, columns: list[int], *, end_s: float | None
) -> None:
    owners, spans = [], []
    for each in scanned:
        for run in each.rows.runs[each.rows.runs["video_id"] == video_id]:
            owners.append((each, int(run["epoch"])))
            spans.append(slice(int(run["first"]), int(run["first"] + run["count"])))
    parts = list(zip(owners, spans, strict=True))
    epochs = np.concatenate([np.full(span.stop - span.start, epoch, np.int32) for (_, epoch), span in parts])
    pts = np.concatenate([each.rows.pts[span] for (each, _), span in parts])
    order = np.lexsort((pts, epochs))
    times_s = np.concatenate([each.rows.times_s[span] for (each, _), span in parts])[order]
    features = np.concatenate([each.rows.floats(span.start, span.stop) for (each, _), span in parts])[order]
    samples = VideoSamples(epochs=epochs[order], pts=pts[order], times_s=times_s, end_s=end_s)
    scores = np.empty(len(order), np.float32)
    scores[order] = np.minimum(labels.of_video(features, samples)[:, columns].sum(axis=1), 1)
    done = 0
    for (each, _), span in parts:
        count = span.stop - span.start
        each.scores[span] = np.nan_to_num(scores[done : done + count])
        done += count
