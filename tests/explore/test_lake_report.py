"""The report on a lake: its numbers are those of ``status``, and it is one file that opens without a network."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from browsers import LOOKS, chromium, file_url, needs_chromium, opened
from command import vidlake
from playwright.sync_api import Browser
from rows import dataset_info, finished, new_dataset, plan_table, planned

from pipeline.explore.report.document import LakeReport, read_report
from pipeline.explore.report.page import html_of
from pipeline.explore.report.runs import run_figures
from pipeline.lake.planned import publish_plan
from pipeline.lake.run_reports import report_name, write_report

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def stage(*stretches: tuple[float, float], num_samples: int, busy_s: float | None = None) -> dict[str, Any]:
    """What a stage with one worker says in the report of a run."""
    busy_s = sum(end - start for start, end in stretches) if busy_s is None else busy_s
    worker = {"stretches": [list(each) for each in stretches], "busy_s": busy_s, "private_bytes": 5_000_000}
    counts = {"num_videos": 0, "num_segments": 1, "num_samples": num_samples, "video_s": 60.0, "num_bytes": 700}
    return {**counts, "decoded_frames": 0, "workers": {"host:1": worker}}


def run_report(**further: Any) -> dict[str, Any]:
    began = NOW - timedelta(minutes=5)
    return {
        "command": "extract",
        "state": "finished",
        "error": None,
        "began": began.isoformat(),
        "written": (began + timedelta(seconds=100)).isoformat(),
        "marks_s": {"plan": 10.0, "end": 100.0},
        "hardware": {"num_cpus": 2, "num_gpus": 0, "num_nodes": 1},
        "num_actors": 1,
        "stages": {
            "decode": stage((10, 50), num_samples=200),
            "embed": stage((20, 110), num_samples=200),
            "commit": stage((100, 105), num_samples=200),
        },
        "timeline": [{"at_s": 10.0 * at, "decode": 40 * at, "embed": 20 * at, "commit": 0} for at in range(6)],
        **further,
    }


def fill(place: Path | str, *, name: str = "a") -> str:
    """A lake of three videos: one whole, one with a segment that failed, one that failed as a whole; with two runs."""
    dataset, token = new_dataset(place)
    rows = [
        planned(name, segments=1),
        planned("cut", segments=2),
        planned("text", reason="not_video"),
        planned("left", segments=1),
    ]
    publish_plan(dataset, plan_table(*rows), token=token)
    segments = [finished(name), finished("cut"), finished("cut", 1, reason="truncated")]
    dataset.publish_features(pa.concat_tables(segments), dataset_info(), token=token)
    write_report(dataset, report_name(NOW - timedelta(minutes=5), run="one"), run_report())
    failed = run_report(state="failed", error=f"the store is away {HOSTILE}", stages={}, timeline=[], command="retry")
    write_report(dataset, report_name(NOW, run="two"), failed)
    return dataset.store.uri


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return fill(tmp_path / "lake")


def numbers_in(document: object) -> set[float]:
    if isinstance(document, dict | list):
        values = document.values() if isinstance(document, dict) else document
        return set().union(*map(numbers_in, values)) if document else set()
    return {float(document)} if isinstance(document, int | float) else set()


def test_its_numbers_are_those_of_status(lake: str, tmp_path: Path) -> None:
    status = json.loads(vidlake("status", lake, "--json").stdout)
    told = json.loads(vidlake("report", lake, "--json").stdout)
    [dataset] = told["datasets"]
    assert dataset["status"] == {key: value for key, value in status.items() if key != "uri"}
    assert sum(dataset["hours_by"]["codec"].values()) == pytest.approx(status["hours"])
    assert {each["reason"]: each["count"] for each in dataset["failures"]} == status["reasons"]
    assert list(tmp_path.glob("*.html")) == []


def test_it_names_the_first_failure_of_each_reason(lake: str) -> None:
    [dataset] = read_report(lake, now=NOW).datasets
    first = {each.reason: (each.uri, each.segment, each.start_s, each.end_s) for each in dataset.archive.failures}
    assert first == {
        "not_video": ("/videos/text.mp4", None, None, None),
        "truncated": ("/videos/cut.mp4", 1, 15.0, 24.0),
    }


def test_it_is_made_of_a_lake_in_a_bucket_as_of_one_in_a_folder(bucket_place: str, tmp_path: Path) -> None:
    here, there = (read_report(fill(place), now=NOW).to_json() for place in (tmp_path / "lake", bucket_place))

    def placeless(report: Any) -> Any:
        return [{key: value for key, value in each.items() if key != "uri"} for each in report["datasets"]]

    assert placeless(there) == placeless(here)


def test_a_folder_of_several_models_is_told_model_by_model(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fill(tmp_path / "lake" / name)
    report = read_report(str(tmp_path / "lake"), now=NOW)
    assert [each.uri.rpartition("/")[2] for each in report.datasets] == ["one", "two"]


def test_a_run_is_told_by_its_bottleneck_and_its_share_of_the_ceiling() -> None:
    """200 samples within 100 s; the model was at work for 90 of them, and would have made 200 in 90 s."""
    figures = run_figures({**run_report(), "name": "one"}, now=NOW)
    assert figures is not None
    assert figures.bottleneck == "model"
    assert figures.samples_per_s == pytest.approx(2.0)
    assert figures.ceiling_per_s == pytest.approx(200 / 90)
    assert figures.share_of_ceiling == pytest.approx(0.9)
    assert [(rate.at_s, rate.decode, rate.embed) for rate in figures.rates[:2]] == [(10.0, 4.0, 2.0), (20.0, 4.0, 2.0)]
    decode, embed, _ = figures.stages
    assert decode.utilisation == pytest.approx(0.4)
    assert embed.utilisation == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("report", "state"),
    [
        pytest.param({"state": "running", "written": (NOW - timedelta(seconds=70)).isoformat()}, "killed", id="silent"),
        pytest.param(
            {"state": "running", "written": (NOW - timedelta(seconds=9)).isoformat()}, "running", id="goes on"
        ),
        pytest.param({"state": "interrupted"}, "interrupted", id="Ctrl-C"),
        pytest.param({"state": "failed", "stages": {}, "timeline": [], "hardware": None}, "failed", id="nothing done"),
    ],
)
def test_a_run_that_did_not_finish_is_told_too(report: dict[str, Any], state: str) -> None:
    figures = run_figures({**run_report(**report), "name": "one"}, now=NOW)
    assert figures is not None
    assert figures.state == state


def test_a_report_of_an_earlier_version_is_told_by_what_it_says() -> None:
    old = {
        key: value
        for key, value in run_report().items()
        if key not in ("command", "hardware", "num_actors", "timeline")
    }
    figures = run_figures({**old, "name": "one"}, now=NOW)
    assert figures is not None
    assert (figures.command, figures.num_samples, figures.rates) == ("extract", 200, ())
    assert figures.bottleneck == "model"


@pytest.mark.parametrize(
    "damage", [{"stages": []}, {"stages": {"decode": {}}}, {"marks_s": None}, {"written": "then"}, {"timeline": [1]}]
)
def test_what_is_no_report_of_a_run_is_left_out(damage: dict[str, Any]) -> None:
    assert run_figures({**run_report(**damage), "name": "one"}, now=NOW) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["no-such-lake"], "no dataset", id="no lake"),
        pytest.param(["LAKE", "--out", "no/such/folder/r.html"], "cannot be written", id="no such folder"),
    ],
)
def test_misuse_is_one_line(lake: str, tmp_path: Path, words: list[str], told: str) -> None:
    done = vidlake("report", *[word.replace("LAKE", lake) for word in words])
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert told in done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def report(lake: str) -> LakeReport:
    return read_report(lake, now=NOW)


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_opens_from_the_disk_without_a_network(
    browser: Browser, report: LakeReport, tmp_path: Path, scheme: str, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(html_of(report))
    seen = opened(browser, file_url(path), offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    seen.page.locator("[data-chart]").first.scroll_into_view_if_needed()
    seen.page.locator("[data-chart] canvas").first.wait_for()
    assert seen.complaints == []
    assert seen.requests == [file_url(path)]
    assert seen.width_px() <= width
    assert seen.serious() == []
    text = re.sub(r"(?<=\d),(?=\d{3})", "", seen.page.inner_text("body"))
    for word in ("not_video", "/videos/text.mp4", "truncated", "h264", "bottleneck", "failed", "the store is away"):
        assert word in text


@pytest.mark.slow
@needs_chromium
def test_what_a_lake_says_is_text_and_never_markup(browser: Browser, report: LakeReport, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html_of(report))
    seen = opened(browser, file_url(path), offline=True)
    assert "taken" not in seen.page.title()
    assert HOSTILE in seen.page.inner_text("body")
    assert seen.complaints == []
