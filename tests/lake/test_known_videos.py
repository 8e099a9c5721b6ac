"""What ``videos`` says of each video, and what is said of one that it does not know."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rows import id_of

from pipeline.lake.dataset import Dataset
from pipeline.lake.known_videos import KnownVideos, video_parts
from pipeline.records.ids import id_bytes
from pipeline.records.periods import moment_of
from pipeline.records.tables import VIDEOS


def table(**columns: list[object]) -> pa.Table:
    num = len(columns["video_id"])
    own = {field.name: pa.array(columns.get(field.name, [None] * num), field.type) for field in VIDEOS.schema}
    further = {name: pa.array(values) for name, values in columns.items() if name not in own}
    return pa.table({**own, **further})


def write(folder: Path, name: str, rows: pa.Table) -> None:
    (folder / "videos").mkdir(exist_ok=True)
    pq.write_table(rows, folder / "videos" / f"{name}.parquet")


def test_unknown_videos_are_current_and_their_ends_unknown(tmp_path: Path) -> None:
    ids = id_bytes(pa.chunked_array([[id_of("a")]]))
    none = KnownVideos.of(Dataset.at(str(tmp_path)).files)
    write(tmp_path, "one", table(video_id=[id_of("b")], is_current=[False]))
    one = KnownVideos.of(Dataset.at(str(tmp_path)).files)
    for known in (none, one):
        assert known.are_current(ids).tolist() == [True]
        assert np.isnan(known.ends_of(ids)).all()
        assert np.isnan(known.recorded_of(ids)).all()


def test_what_is_said_of_a_video(tmp_path: Path) -> None:
    """Its end is that of the range that a manifest asks for; it was recorded when its container says."""
    names = ["a", "b", "c", "d"]
    write(
        tmp_path,
        "all",
        table(
            video_id=[id_of(name) for name in names],
            is_current=[True, False, None, True],
            duration_s=[60.0, 60.0, None, 60.0],
            end_s=[None, 20.0, 30.0, 90.0],
            creation_time=["2026-01-01T12:00:00.000000Z", None, "once upon a time", None],
        ),
    )
    known = KnownVideos.of(Dataset.at(str(tmp_path)).files)
    ids = id_bytes(pa.chunked_array([[id_of(name) for name in names]]))
    assert known.are_current(ids).tolist() == [True, False, True, True]
    assert known.ends_of(ids).tolist() == [60.0, 20.0, 30.0, 60.0]
    assert known.recorded_of(ids)[0] == moment_of("2026-01-01T12:00:00Z")
    assert np.isnan(known.recorded_of(ids)[1:]).all()


def test_columns_of_manifests_are_null_where_a_file_lacks_them(tmp_path: Path) -> None:
    write(tmp_path, "one", table(video_id=[id_of("a")], camera=["north"]))
    write(tmp_path, "two", table(video_id=[id_of("b")]))
    parts = list(video_parts(Dataset.at(str(tmp_path)).files, ("video_id", "camera", "duration_s")))
    assert [part["camera"].to_pylist() for part in parts] == [["north"], [None]]
    assert {part["duration_s"].type for part in parts} == {pa.float64()}
