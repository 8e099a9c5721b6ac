"""What makes one task."""

from typing import Any

import pyarrow as pa
import pytest
from rows import id_of, segment, task

from pipeline.extract.tasks import group_tables, split_tables
from pipeline.records.rows import table_of
from pipeline.records.schemas import TASKS


def video(name: str, *costs_s: float, key_pts: int | None = None) -> list[dict[str, Any]]:
    return [task(name, segment(at, cost_s=cost_s, key_pts=key_pts)) for at, cost_s in enumerate(costs_s)]


def shape(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["video_id"], row["segment"]["index"]) for row in rows]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(video("a", 30, 30, 30), [[0], [1], [2]], id="a-long-video-makes-many"),
        pytest.param(video("a", 1) + video("b", 2) + video("c", 3), [[0, 0, 0]], id="short-videos-share-one"),
        pytest.param(video("a", 30, 30, 30, key_pts=0), [[0, 1, 2]], id="one-pass-is-never-cut"),
        pytest.param(video("a", 10, 10, 29), [[2], [0, 1]], id="the-longest-first"),
        pytest.param(video("a", 0, 0, 0), [[0, 1, 2]], id="no-cost-at-all"),
    ],
)
def test_tasks_are_of_about_one_length(rows: list[dict[str, Any]], expected: list[list[int]]) -> None:
    tables = group_tables([table_of(rows, TASKS)], task_s=30)
    assert [[index for _, index in shape(each.to_pylist())] for each in tables] == expected


@pytest.mark.parametrize(
    ("cost_s", "expected"),
    [
        pytest.param(0, 1, id="never-nothing"),
        pytest.param(5, 1, id="within-a-table"),
        pytest.param(10, 4, id="a-pass-of-two-segments-is-not-cut"),
        pytest.param(27, 6, id="all-of-two-tables-and-one-segment-more"),
        pytest.param(1000, 7, id="everything"),
    ],
)
def test_what_is_cut_off_is_as_long_as_asked_and_nothing_is_lost(cost_s: float, expected: int) -> None:
    videos = video("a", 5, 3), video("b", 9, 9, key_pts=0) + video("c", 0), video("d", 7, 7)
    parts = [table_of(rows, TASKS) for rows in videos]
    first, left = split_tables(parts, cost_s=cost_s)
    assert sum(map(len, first)) == expected
    assert pa.concat_tables([*first, *left]) == pa.concat_tables(parts)


def test_tables_of_several_parts_are_grouped_part_by_part() -> None:
    parts = [table_of(video("a", 5, 5), TASKS), table_of(video("b", 25), TASKS)]
    found = [shape(each.to_pylist()) for each in group_tables(parts, task_s=30)]
    assert found == [[(id_of("b"), 0)], [(id_of("a"), 0), (id_of("a"), 1)]]


def test_segments_without_a_keyframe_of_their_own_stay_together() -> None:
    rows = video("a", 20, 20)
    for row in rows:
        row["segment"]["key_pts"] = None
    assert len(group_tables([table_of(rows, TASKS)], task_s=30)) == 1
