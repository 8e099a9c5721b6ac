"""Labels of what cameras brought: by the stream, and by when it was captured; so are the samples of a period."""

from datetime import timedelta
from pathlib import Path

import pytest
from labelling import row, written
from live_lakes import BEGAN, batch, moment, session, writer

from pipeline.errors import UsageError
from pipeline.lake.video_features import LakeFeatures
from pipeline.records.periods import Period
from pipeline.records.units import Unit
from pipeline.training.labels.label_rows import read_label_file
from pipeline.training.labels.labelled_videos import LabelledVideos
from pipeline.training.request import LabelOptions

OPTIONS = LabelOptions(file=None, column="label")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two streams of one source; two sessions of the gate, a hundred seconds apart, and one of the door."""
    for name, count in (("gate", 2), ("door", 1)):
        with writer(tmp_path / "lake", stream=name) as stream:
            for number in range(count):
                of = session(number, stream=name)
                stream.begin(of)
                stream.commit(batch(of, 0, 10))
                stream.end(ended_at=moment(of, 10))
    return tmp_path / "lake"


def labelled(
    lake: Path, *rows: dict[str, object], period: Period | None = None, unit: str = "frame", suffix: str = "csv"
) -> dict[tuple[str, str], list[int]]:
    """The slots that each label holds, by its session."""
    file = written(lake.parent / f"labels.{suffix}", list(rows))
    given = read_label_file(file, OPTIONS)
    features = LakeFeatures.at(str(lake))
    videos = LabelledVideos.of(features, given, unit=Unit.parse(unit), is_multi_label=False, period=period or Period())
    names = {session(number, stream=name).video_id: f"{name}{number}" for name in ("gate", "door") for number in (0, 1)}
    found: dict[tuple[str, str], list[int]] = {}
    for video in features.read(videos.ids):
        units, labels = videos.units_of(video)
        of = videos.rows_of(video.video_id)
        for place, at in zip(labels.places[labels.unit].tolist(), labels.row.tolist(), strict=True):
            key = (names[video.video_id], of[at].label)
            found.setdefault(key, []).append(int(video.samples.times_s[units.begin[place]]))
    return found


TEN = list(range(10))


def test_a_stream_means_all_of_its_sessions(lake: Path) -> None:
    found = labelled(lake, {"stream": "gate", "label": "a"}, {"stream": "door", "label": "b"})
    assert found == {("gate0", "a"): TEN, ("gate1", "a"): TEN, ("door0", "b"): TEN}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_was_captured_between_two_moments(lake: Path, suffix: str) -> None:
    """From the first on and before the second, wherever sessions begin and end."""
    bounds = [BEGAN + timedelta(seconds=at) for at in (4, 103)]
    values: list[object] = list(bounds) if suffix == "parquet" else [each.isoformat() for each in bounds]
    row: dict[str, object] = {"stream": "gate", "captured_from": values[0], "captured_to": values[1], "label": "a"}
    found = labelled(lake, row, suffix=suffix)
    assert found == {("gate0", "a"): [4, 5, 6, 7, 8, 9], ("gate1", "a"): [0, 1, 2]}


def test_a_unit_is_held_where_all_of_its_samples_were_captured_then(lake: Path) -> None:
    row: dict[str, object] = {"stream": "gate", "captured_from": moment(session(), 1).isoformat(), "label": "a"}
    found = labelled(lake, {**row, "captured_to": moment(session(), 9).isoformat()}, unit="window:4")
    assert found == {("gate0", "a"): [4]}


def test_the_uri_of_a_source_means_its_sessions_of_every_stream_unless_one_is_named(lake: Path) -> None:
    uri = session().uri
    assert labelled(lake, {"uri": uri, "label": "a"}).keys() == {("gate0", "a"), ("gate1", "a"), ("door0", "a")}
    assert labelled(lake, {"uri": uri, "stream": "door", "label": "a"}).keys() == {("door0", "a")}


def test_a_period_chooses_by_when_each_sample_was_captured(lake: Path) -> None:
    period = Period(begin_s=moment(session(), 7).timestamp(), end_s=moment(session(1), 2).timestamp())
    found = labelled(lake, {"stream": "gate", "label": "a"}, period=period)
    assert found == {("gate0", "a"): [7, 8, 9], ("gate1", "a"): [0, 1]}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"stream": "yard"}, "no row matches a video of .*: stream yard .row 1.", id="no-such-stream"),
        pytest.param(
            {"stream": "gate", "captured_from": "noon"}, "row 1: captured_from 'noon' is no time", id="no-time"
        ),
        pytest.param(
            {"stream": "gate", "captured_from": "2026-11-27", "captured_to": "2026-11-26"},
            "row 1: captured_to must be later",
            id="an-empty-range",
        ),
    ],
)
def test_a_bad_value_is_named(lake: Path, values: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        labelled(lake, {**values, "label": "a"})


def test_rows_that_say_nothing_of_streams_have_the_digest_that_they_had(tmp_path: Path) -> None:
    old = read_label_file(written(tmp_path / "a.csv", [{"uri": "a.mp4", "label": "x"}]), OPTIONS)
    new = read_label_file(written(tmp_path / "b.csv", [{"uri": "a.mp4", "label": "x", "stream": ""}]), OPTIONS)
    assert old.digest == new.digest
    assert old.rows == new.rows == (row("a.mp4", "x"),)
    live = read_label_file(written(tmp_path / "c.csv", [{"uri": "a.mp4", "label": "x", "stream": "gate"}]), OPTIONS)
    assert live.digest != old.digest
