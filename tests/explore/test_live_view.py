"""A stream in what a person is shown: its session while it goes on, what it lacks, and its coverage over time."""

from datetime import timedelta
from pathlib import Path

import pytest
from live_lakes import BEGAN, batch, gap, session, writer

from pipeline.explore.report.coverage import coverage_of
from pipeline.explore.report.document import read_report
from pipeline.explore.report.page import html_of
from pipeline.explore.viewing import lake_view
from pipeline.explore.viewing.lake_view import LakeView
from pipeline.explore.viewing.timeline import timeline
from pipeline.lake.dataset import Dataset
from pipeline.lake.live.batches import LiveBatch
from pipeline.records.streams import GapReason


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_view, "_AS_IT_WAS_S", 0.0)


def test_a_session_is_shown_while_it_goes_on_and_the_same_once_it_is_published(tmp_path: Path) -> None:
    first = session()
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 6, missing=(2, 4)))
        view = LakeView(str(tmp_path))
        [row] = view.videos().rows
        assert (row["video_id"], row["status"], row["num_samples"]) == (first.video_id, "live", 4)
        during = timeline(view, first.video_id)
        assert during.times_s.tolist() == [0.0, 1.0, 4.0, 5.0]
        [missing] = during.missing
        assert (missing.kind, missing.reason, missing.start_s, missing.end_s) == ("gap", "dropped", 2.0, 4.0)
        stream.commit(batch(first, 6, 8))
        assert timeline(view, first.video_id).times_s.tolist() == [0.0, 1.0, 4.0, 5.0, 6.0, 7.0]
        stream.end(ended_at=first.started_at + timedelta(seconds=8))
    after = timeline(view, first.video_id)
    assert after.times_s.tolist() == [0.0, 1.0, 4.0, 5.0, 6.0, 7.0]
    assert after.missing == during.missing
    assert view.videos().rows[0]["status"] == "partial"


def test_coverage_tells_what_is_there_what_was_not_wanted_and_what_is_missing(tmp_path: Path) -> None:
    """Sixty slots: ten with rows, twenty in which nothing moved, thirty while nobody was connected."""
    first = session()
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 10))
        stream.commit(LiveBatch(gaps=(gap(first, 10, 30, reason=GapReason.GATED),)))
        stream.end(ended_at=first.started_at + timedelta(seconds=30))
        away = gap(first, 30, 60, reason=GapReason.DISCONNECTED, is_inside=False)
        stream.commit(LiveBatch(gaps=(away,)))
        second = session(1)
        stream.begin(second)
        stream.end(ended_at=second.started_at)
    [coverage] = coverage_of(Dataset.at(str(tmp_path)))
    assert (coverage.stream, coverage.stretch_s, coverage.captured_from) == ("gate", 10, BEGAN.isoformat())
    assert coverage.with_rows[:6] == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert coverage.gated[:6] == (0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    assert coverage.missing[:6] == (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def test_the_report_draws_the_coverage_of_each_stream(tmp_path: Path) -> None:
    first = session()
    with writer(tmp_path) as stream:
        stream.begin(first)
        stream.commit(batch(first, 0, 10))
        stream.end(ended_at=first.started_at + timedelta(seconds=10))
    report = read_report(str(tmp_path))
    [dataset] = report.datasets
    assert [each.stream for each in dataset.coverage] == ["gate"]
    assert "100% of its samples are there" in html_of(report)
