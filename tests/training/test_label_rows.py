"""Label files: what their rows say, and that a bad value is named by file, row and column."""

from pathlib import Path

import pytest
from labelling import row, written

from pipeline.errors import UsageError
from pipeline.training.labels.label_rows import labels_of_videos, read_label_file
from pipeline.training.request import LabelOptions

OPTIONS = LabelOptions(file=None, column="label")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_whole_videos_and_ranges_of_them(tmp_path: Path, suffix: str) -> None:
    rows: list[dict[str, object]] = [
        {"uri": "/a.mp4", "label": "cat", "start_s": None, "end_s": None},
        {"uri": "b.mp4", "label": "dog", "start_s": 0.1, "end_s": 2.5},
        {"uri": "b.mp4", "label": "cat", "start_s": 2.5, "end_s": None},
    ]

    labels = read_label_file(written(tmp_path / f"labels.{suffix}", rows), OPTIONS)

    assert labels.rows == (
        row("/a.mp4", "cat"),
        row("b.mp4", "dog", row=2, start_s=0.1, end_s=2.5),
        row("b.mp4", "cat", row=3, start_s=2.5),
    )
    assert labels.labels == ("cat", "dog")
    assert not labels.has_parts


def test_the_columns_are_those_that_the_options_name(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"video_id": "007", "species": "12", "label": "x", "split": "test", "camera": "01"},
        {"video_id": "008", "species": "13", "label": "y", "split": "train", "camera": ""},
    ]
    options = LabelOptions(file=None, column="species", group="camera")

    labels = read_label_file(written(tmp_path / "labels.csv", rows), options)

    assert labels.rows == (
        row("007", "12", is_id=True, part="test", group="01"),
        row("008", "13", is_id=True, part="train", row=2),
    )
    assert labels.has_parts


def test_labels_that_are_numbers_are_names(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"uri": "a.mp4", "label": 3}]

    assert read_label_file(written(tmp_path / "labels.parquet", rows), OPTIONS).labels == ("3",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("uri,label\na.mp4,\n", "row 1: column label: no label", id="no-label"),
        pytest.param("uri,label\n,x\n", "row 1: no uri", id="no-video"),
        pytest.param("uri,label,end_s\na,x,\nb,x,soon\n", "row 2: end_s must be a number", id="no-number"),
        pytest.param("uri,label,start_s,end_s\na,x,5,5\n", "row 1: end_s must be greater", id="empty-range"),
        pytest.param(
            "uri,label,start_s\na,x,-1\n", "row 1: start_s must be a number of seconds, at least 0", id="negative"
        ),
        pytest.param("uri,label,split\na,x,dev\n", "row 1: column split: 'dev': use train", id="another-part"),
        pytest.param("uri,label,split\na,x,train\na,x,\n", "row 2: column split: no part", id="no-part"),
        pytest.param("uri,name\na,x\n", "no column label, which --label names; its columns: uri, name", id="no-column"),
        pytest.param("file,label\na,x\n", "neither a column uri nor video_id", id="nothing-that-names-a-video"),
        pytest.param("uri,label\n", "it has no rows", id="no-rows"),
    ],
)
def test_a_bad_label_file_is_refused_in_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "labels.csv").write_text(content)

    with pytest.raises(UsageError) as caught:
        read_label_file(str(tmp_path / "labels.csv"), OPTIONS)

    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"label file {tmp_path}/labels.csv: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "group"), [("labels.json", None), ("labels.csv", "camera")])
def test_what_cannot_be_a_label_file_is_refused(tmp_path: Path, name: str, group: str | None) -> None:
    (tmp_path / name).write_text("uri,label\na,x\n")

    with pytest.raises(UsageError, match=r"a \.csv or a \.parquet|no column camera, which --group names"):
        read_label_file(str(tmp_path / name), LabelOptions(file=None, column="label", group=group))


def test_the_digest_is_of_what_the_rows_say_and_not_of_the_file(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"uri": "a.mp4", "label": "x", "note": "old"}, {"uri": "b.mp4", "label": "y"}]
    renamed = [{**each, "note": "new"} for each in rows]
    changed = [{**each, "label": "x"} for each in rows]

    first, second, third = (
        read_label_file(written(tmp_path / name, content), OPTIONS).digest
        for name, content in (("1.csv", rows), ("2.parquet", renamed), ("3.csv", changed))
    )

    assert first == second != third


def test_a_lake_whose_manifest_carried_labels_needs_no_file() -> None:
    videos: list[dict[str, object]] = [
        {"video_id": "1", "animal": "ant", "split": "train"},
        {"video_id": "2", "animal": None, "split": None},
        {"video_id": "3", "animal": "bee", "split": "test"},
    ]
    options = LabelOptions(file=None, column="animal")

    labels = labels_of_videos(videos, options, columns=["video_id", "animal", "split"], uri="/lake")

    assert [(each.video, each.label, each.part) for each in labels.rows] == [
        ("1", "ant", "train"),
        ("3", "bee", "test"),
    ]
    with pytest.raises(UsageError, match="no column animal, which --label names"):
        labels_of_videos(videos, options, columns=["video_id"], uri="/lake")
