"""What a finished command says, in words."""

from pipeline.extract.results import Forecast, Measured, Outcome, Predicted
from pipeline.lake.compaction.compact import Compacted
from pipeline.lake.comparison.diff import Compared, ComparedVideo, Diff
from pipeline.lake.live.stream_status import StreamStatus
from pipeline.lake.tables import FolderStatus, SideTable, Status, Totals

_MOST_LABELS = 10


def describe_outcome(outcome: Outcome) -> str:
    """The closing summary of a run."""
    rate = f"{outcome.num_samples / outcome.seconds:.1f} frames/s, {outcome.video_s / outcome.seconds:.1f} x real time"
    run = (
        f"this run: {outcome.num_samples} samples of {_duration(outcome.video_s)} of video in "
        f"{_duration(outcome.seconds)} ({rate}), {_size(outcome.num_bytes)} written"
    )
    if len(outcome.datasets) == 1:
        [one] = outcome.datasets
        return "\n".join([f"{_videos(one.totals)} in {one.out}", run, *_quarantined(one.totals)])
    each = ["\n".join([f"{_videos(one.totals)} in {one.out}", *_quarantined(one.totals)]) for one in outcome.datasets]
    return "\n".join([*each, run])


def describe_status(uri: str, status: Status) -> str:
    """What is in a dataset."""
    info, totals = status.info, status.totals
    config = info.config
    lines = [
        f"{_videos(totals)} in {uri}",
        f"{totals.num_samples} samples of {totals.hours:.2f} h of video; "
        f"{totals.num_pending} of {totals.num_segments} segments to do",
        f"model {config.model.name} ({config.model.dim} values, {config.precision}, stored as {config.dtype}), "
        f"weights {info.weights} ({config.model.weights_digest[:19]}), sampled {config.sample}, "
        f"fingerprint {config.fingerprint}",
        *map(_stream, status.streams),
        *_side_tables(status.side_tables),
    ]
    return "\n".join(lines + _quarantined(totals))


def describe_folder(uri: str, status: FolderStatus) -> str:
    """What is in the datasets of a folder."""
    each = [describe_status(f"{uri.rstrip('/')}/{name}", found) for name, found in status.datasets.items()]
    return "\n".join([*each, *_side_tables(status.side_tables)])


def describe_compacted(done: Compacted) -> str:
    """What a ``compact`` did."""
    return "\n".join(
        [
            f"{_videos(done.totals)} in {done.out}",
            f"{done.num_samples} samples of {done.num_files_before} files written to {done.num_files}, "
            f"{_size(done.num_bytes)} in {_duration(done.seconds)}",
            *_quarantined(done.totals),
        ]
    )


def describe_predicted(done: Predicted) -> str:
    """What a ``predict`` did."""
    rate = f"{done.num_units / done.seconds:.0f}/s"
    lines = [
        f"{done.num_units} predictions of {done.head} for {done.num_videos} videos written to {done.out}/predictions",
        f"{done.num_files} files, {_size(done.num_bytes)} in {_duration(done.seconds)} ({rate})",
    ]
    if done.num_units:
        counts = sorted(done.labels.items(), key=lambda counted: -counted[1])
        named = [f"{count} {label}" for label, count in counts[:_MOST_LABELS] if count]
        lines.append(", ".join(named) + (" ..." if len(counts) > _MOST_LABELS else ""))
    if done.num_waiting:
        lines.append(
            f"{done.num_waiting} videos wait until all of their segments are settled: extract goes on with them"
        )
    if done.num_undated:
        lines.append(f"{done.num_undated} videos are left out: nobody knows when they were recorded")
    return "\n".join(lines)


def compared_video(video: ComparedVideo) -> str:
    """A line of ``diff``."""
    return f"{video.uri}: {_compared(video.compared)}"


def describe_diff(found: Diff, complaints: list[str]) -> str:
    """What two datasets come to, once all their videos are compared."""
    settings = [f"{name}: {mine} in A, {theirs} in B" for name, (mine, theirs) in found.configuration.items()]
    return "\n".join([*settings, f"all: {_compared(found.total)}", *complaints])


def _compared(compared: Compared) -> str:
    alone = [f"{num} in {side} alone" for side, num in (("A", compared.only_a), ("B", compared.only_b)) if num]
    rows = ", ".join([f"{compared.num_rows} rows in both", *alone])
    if compared.worst_cosine is None:
        return rows
    return (
        f"{rows}; cosine {compared.worst_cosine:.6f} at worst, {compared.median_cosine:.6f} in the middle; "
        f"largest difference {compared.largest_difference:.3g}"
    )


def describe_forecast(found: Forecast) -> str:
    """What a run would do."""
    outputs = [
        f"{name}: {output.num_samples} samples to do, model {_duration(output.model_s)}, output about "
        f"{_size(output.num_bytes)}; {output.num_done} segments are done"
        for name, output in found.outputs.items()
    ]
    return "\n".join(
        [
            f"{found.num_videos} videos, {found.num_unusable} of them unusable; {found.num_done} segments are done",
            f"to do: {found.num_segments} segments, {found.hours:.2f} h of video, about {found.num_samples} samples",
            f"decoding {_duration(found.decode_s)} on one core, model {_duration(found.model_s)} on one actor, "
            f"output about {_size(found.num_bytes)}",
            *(outputs if len(outputs) > 1 else []),
        ]
    )


def describe_bench(found: Measured) -> str:
    """What this machine does."""
    decode = found.decode
    unusable = f", {decode.num_unusable} of them unusable" if decode.num_unusable else ""
    batches = ", ".join(f"{rate:.1f} in batches of {size}" for size, rate in found.model_per_s.items())
    holder = "decoding" if found.bottleneck == "decode" else "the model"
    return "\n".join(
        [
            f"decoding: {found.decode_per_core_s:.1f} samples a core-second, {decode.video_s / decode.cpu_s:.1f} x "
            f"real time ({decode.num_samples} samples of {decode.num_videos} videos{unusable})",
            f"model: {batches} samples a second ({found.device})",
            f"chosen: batches of {found.batch_size}, {found.decode_workers} decode workers, "
            f"{found.num_actors} model actors; {found.cores_per_actor:.1f} cores of decoding keep one actor busy",
            f"bottleneck: {holder}; expect {found.expected_per_s:.1f} samples/s on this machine",
        ]
    )


def _videos(totals: Totals) -> str:
    counts = ", ".join(
        f"{count} {status}" for status, count in totals.videos.items() if count or status != "unfinished"
    )
    return f"{sum(totals.videos.values())} videos: {counts}"


def _stream(stream: StreamStatus) -> str:
    sessions = ", ".join(f"{count} {status}" for status, count in stream.sessions.items() if count)
    missing = ", ".join(f"{count} {reason}" for reason, count in stream.missing_slots.items())
    filled = f", {stream.num_filled} filled" if stream.num_filled else ""
    return (
        f"stream {stream.name}: {sum(stream.sessions.values())} sessions ({sessions}), {stream.num_samples} samples, "
        f"{stream.captured_from:%Y-%m-%d %H:%M:%S} to {stream.captured_to:%Y-%m-%d %H:%M:%S} UTC; "
        f"slots without a row: {missing or 'none'}{filled}"
    )


def _side_tables(tables: dict[str, SideTable]) -> list[str]:
    return [f"{name}: {table.num_rows} rows in {table.num_files} files" for name, table in tables.items()]


def _quarantined(totals: Totals) -> list[str]:
    if not totals.reasons:
        return []
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(totals.reasons.items()))
    return [f"quarantined: {reasons} (see quarantine/; `vidlake retry` runs what kept no rows again)"]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(num_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"
