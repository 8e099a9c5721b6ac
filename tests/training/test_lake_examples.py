"""Labels of a lake become examples: counted, split by group, and read anew as often as is needed."""

from pathlib import Path

import numpy as np
import pytest
from labelled_lakes import Videos, blob, make_lake
from labelling import written
from rows import id_of

from pipeline.errors import UsageError
from pipeline.lake.video_features import LakeFeatures
from pipeline.records.periods import Period
from pipeline.records.units import Unit
from pipeline.training.examples import PARTS
from pipeline.training.labels.labelled_videos import read_labels
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.request import LabelOptions, SplitOptions

PEOPLE = {
    f"{label}{at}": blob("xy".index(label), 10, seed=20 * "xy".index(label) + at) for at in range(10) for label in "xy"
}


def examples_of(
    folder: Path,
    rows: list[dict[str, object]] | None,
    *,
    videos: Videos = PEOPLE,
    unit: str = "frame",
    column: str = "label",
    group: str | None = None,
    is_multi_label: bool = False,
    split: SplitOptions | None = None,
    period: Period | None = None,
    replaced: frozenset[str] = frozenset(),
    columns: dict[str, list[object]] | None = None,
) -> LakeExamples:
    folder.mkdir(exist_ok=True)
    uri = make_lake(folder / "lake", videos, replaced=replaced, columns=columns)
    file = None if rows is None else written(folder / "labels.csv", rows)
    options = LabelOptions(file=file, column=column, group=group, is_multi_label=is_multi_label)
    lake = LakeFeatures.at(uri)
    return LakeExamples.of(
        lake,
        read_labels(lake, options),
        options=options,
        split=split or SplitOptions(),
        unit=Unit.parse(unit),
        period=period or Period(),
    )


def by_name(videos: Videos = PEOPLE) -> list[dict[str, object]]:
    return [{"uri": f"{name}.mp4", "label": name[0]} for name in videos]


def parts_of_videos(examples: LakeExamples) -> dict[str, set[str]]:
    return {video.uri[8:-4]: {PARTS[part] for part in video.parts.tolist()} for video in examples()}


def test_no_video_is_in_two_parts_and_every_class_in_each(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, by_name())

    parts = parts_of_videos(examples)

    assert parts.keys() == PEOPLE.keys()
    assert all(len(of) == 1 for of in parts.values())
    for label in "xy":
        assert sorted(part for name, of in parts.items() if name[0] == label for part in of) == (
            ["test"] * 2 + ["train"] * 6 + ["validation"] * 2
        )
    document = examples.report.to_json()
    assert document["classes"] == {
        label: {
            "train": {"videos": 6, "units": 60},
            "validation": {"videos": 2, "units": 20},
            "test": {"videos": 2, "units": 20},
        }
        for label in "xy"
    }
    assert examples.num_units("train") == 120


def test_the_column_split_is_used_as_it_is(tmp_path: Path) -> None:
    rows = [{**row, "split": "train" if at < 12 else "test"} for at, row in enumerate(by_name())]

    examples = examples_of(tmp_path, rows)

    parts = parts_of_videos(examples)
    assert [parts[name] for name in PEOPLE] == [{"train"}] * 12 + [{"test"}] * 8
    assert any(
        "no validation part: no early stopping, and no temperature" in text for text in examples.report.warnings()
    )


def test_the_same_seed_gives_the_same_split_and_the_same_order(tmp_path: Path) -> None:
    first, second = (examples_of(tmp_path / name, by_name()) for name in "12")
    other = examples_of(tmp_path / "3", by_name(), split=SplitOptions(seed=1))

    assert parts_of_videos(first) == parts_of_videos(second) != parts_of_videos(other)
    assert [video.video_id for video in first()] == [video.video_id for video in first()]


def test_examples_hold_the_features_and_targets_of_labelled_units_alone(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"uri": "x0.mp4", "label": "a", "start_s": 2, "end_s": 5, "split": "train"},
        {"uri": "x0.mp4", "label": "b", "start_s": 7, "end_s": 9, "split": "test"},
    ]

    [video] = examples_of(tmp_path, rows)()

    assert np.array_equal(video.features, PEOPLE["x0"])
    assert video.units.begin.tolist() == [2, 3, 4, 7, 8]
    assert video.targets.argmax(axis=1).tolist() == [0, 0, 0, 1, 1]
    assert [PARTS[part] for part in video.parts] == ["train"] * 3 + ["test"] * 2


def test_a_replaced_video_is_left_out_and_its_label_matches_nothing(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, by_name(), replaced=frozenset({"x0", "y3"}))

    assert parts_of_videos(examples).keys() == PEOPLE.keys() - {"x0", "y3"}
    assert examples.report.num_unmatched == 2
    assert examples.report.first_unmatched == "x0.mp4 (row 1), y3.mp4 (row 8)"


def test_samples_without_a_label_are_counted_over_the_whole_lake(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"uri": "x0.mp4", "label": "a", "start_s": 0, "end_s": 4}]

    assert examples_of(tmp_path, rows, replaced=frozenset({"y9"})).report.num_unlabelled == 19 * 10 - 4


def test_videos_that_show_the_same_are_one_group(tmp_path: Path) -> None:
    videos = {**PEOPLE, **{f"{name}copy": features + np.float32(1e-6) for name, features in PEOPLE.items()}}

    examples = examples_of(tmp_path, by_name(videos), videos=videos)

    parts = parts_of_videos(examples)
    assert all(parts[name] == parts[f"{name}copy"] for name in PEOPLE)
    assert examples.report.num_groups == len(PEOPLE)
    assert examples.report.num_twins == len(PEOPLE)


def test_groups_of_a_column_stay_together(tmp_path: Path) -> None:
    rows = [{**row, "place": f"{at // 4}"} for at, row in enumerate(by_name())]

    parts = parts_of_videos(examples_of(tmp_path, rows, group="place"))

    for first in range(0, 20, 4):
        assert len({part for name in list(PEOPLE)[first : first + 4] for part in parts[name]}) == 1


def test_ranges_are_the_groups_where_all_labels_are_of_one_video(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"uri": "long.mp4", "label": "xy"[at % 2], "start_s": 5 * at, "end_s": 5 * at + 5} for at in range(12)
    ]

    examples = examples_of(tmp_path, rows, videos={"long": blob(0, 60, seed=1)})

    [video] = examples()
    assert all(len({video.parts[at] for at in range(5 * k, 5 * k + 5)}) == 1 for k in range(12))
    assert {PARTS[part] for part in video.parts} == set(PARTS)
    assert any("each labelled range is a group" in line for line in examples.report.lines())


def test_labels_of_the_manifest_need_no_file(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"animal": [name[0] if name != "x3" else None for name in PEOPLE]}

    examples = examples_of(tmp_path, None, column="animal", columns=columns)

    assert examples.labels == ("x", "y")
    assert parts_of_videos(examples).keys() == PEOPLE.keys() - {"x3"}


def test_units_beyond_the_period_are_left_out(tmp_path: Path) -> None:
    recorded_s = 1_700_000_000.123456
    period = Period(begin_s=recorded_s + 2.5, end_s=recorded_s + 6)

    examples = examples_of(tmp_path, by_name(), period=period)

    assert {video.units.begin.tolist() == [3, 4, 5] for video in examples()} == {True}
    assert examples.report.num_unlabelled == 0


def test_a_unit_of_several_labels_counts_for_each_and_once_as_a_unit(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*by_name(), {"uri": "*.mp4", "label": "z", "start_s": 5}]

    examples = examples_of(tmp_path, rows, is_multi_label=True, split=SplitOptions(validation=0, test=0))

    assert examples.num_units("train") == 200
    assert {label: of["train"].units for label, of in examples.report.classes.items()} == {"x": 100, "y": 100, "z": 100}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        pytest.param(
            [{"uri": f"no{at}.mp4", "label": "a"} for at in range(9)],
            r"no row matches.*no0\.mp4.*no4\.mp4.*\.\.\.$",
            id="no-match",
        ),
        pytest.param([{"uri": "x*", "label": "a"}, {"uri": "x1.mp4", "label": "b"}], "has two labels", id="two-labels"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path: Path, rows: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        examples_of(tmp_path, rows)


def test_a_class_without_a_training_unit_is_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"uri": "x0.mp4", "label": "a", "split": "train"},
        {"uri": "x1.mp4", "label": "zebra", "split": "test"},
        {"uri": "nowhere.mp4", "label": "yak", "split": "train"},
    ]

    with pytest.raises(UsageError, match="no frame for training of the classes yak, zebra"):
        examples_of(tmp_path, rows).report.check()


def test_part_of_the_videos_is_read_where_part_of_them_is_wanted(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, by_name())

    test = [video for video in examples() if (video.parts == PARTS.index("test")).any()]

    assert [video.video_id for video in examples.of_part("test")] == [video.video_id for video in test]
    assert id_of("x0") in {video.video_id for part in PARTS for video in examples.of_part(part)}
