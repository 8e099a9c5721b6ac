"""The page's files and the routes that it asks, without a browser: who may have them, and what they hold."""

import base64
import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from conftest import ClipFactory
from labelled_lakes import open_lake
from patience import PATIENCE_S
from real_lakes import real_lake
from rows import DIM, dataset_info, finished, id_of, plan_table, planned
from serving import KEY, Live, serving

from pipeline.lake.planned import publish_listed, publish_plan
from pipeline.lake.tables import derive
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.shards import WHOLE

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = ROOT / "serve" / "console"
OURS = [path for path in (*CONSOLE.iterdir(), ROOT / "pipeline/explore/plotting/charts.js") if path.suffix != ".py"]


@pytest.fixture(scope="module")
def lake(clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, one of which is none and one of which is cut short."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "in").mkdir()
    shutil.copy(clips(num_frames=60), folder / "in/whole.mp4")
    cut = clips(num_frames=100, container="mkv", seed=2).read_bytes()
    (folder / "in/cut.mkv").write_bytes(cut[: len(cut) // 2])
    (folder / "in/text.mp4").write_text("no video at all")
    real_lake(folder / "lake", [folder / "in"])
    return folder / "lake"


@pytest.fixture(scope="module")
def live(lake: Path) -> Iterator[Live]:
    with serving(lake=str(lake)) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(lake: Path) -> Iterator[Live]:
    with serving(lake=str(lake), keys=(KEY,)) as running:
        yield running


def loaded_by(html: str) -> set[str]:
    """What the page names: styles, scripts, modules."""
    imports = re.search(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)
    assert imports is not None
    named = {*re.findall(r'(?:src|href)="([^"]+)"', html), *re.findall(r'"\./([^"]+)"', imports[1])}
    return {name for name in named if not name.startswith("data:")}


def test_the_page_and_its_files_come_without_a_key_and_nothing_else_does(guarded: Live) -> None:
    page = guarded.get("/")
    assert page.status_code == 200
    assert '<meta name="needs-key" content="yes">' in page.text
    for name in loaded_by(page.text):
        assert guarded.get(f"/{name}").status_code == 200, name
    for path in ("/v1/videos", "/v1/report", "/v1/quarantine", "/v1/videos/x", "/v1/videos/x/picture?pts=0", "/docs"):
        assert guarded.get(path).status_code == 401, path
        assert guarded.get(path, authorization=f"Bearer {KEY}").status_code in (200, 404), path


@pytest.mark.parametrize("path", ["/", "/console/app.js"])
def test_a_page_under_another_name_gets_nothing(live: Live, path: str) -> None:
    assert live.get(path, host="evil.example").status_code == 403
    assert live.get(path, origin="https://evil.example").status_code == 403


def test_the_policy_of_the_page_admits_what_this_server_sends_and_nothing_else(live: Live) -> None:
    page = live.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    [inline] = re.findall(r"<script[^>]*>([^<]+)</script>", page.text)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'self' 'sha256-{digest}'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"\son\w+=|style=", page.text)
    for name in loaded_by(page.text):
        headers = live.get(f"/{name}").headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer"), name


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_file_of_the_page_names_another_host_or_a_file_that_is_not_there(live: Live, path: Path) -> None:
    if path.is_dir():
        return
    text = path.read_text()
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text.replace("http://www.w3.org/2000/svg", "")) == []
    for name in re.findall(r'^(?:import|export) .* from "\./([^"]+)"', text, re.MULTILINE):
        assert live.get(f"/console/{name}").headers["content-type"].startswith("text/javascript"), name


def test_a_file_that_has_not_changed_is_not_sent_again(live: Live) -> None:
    for path in ("/", "/console/app.js", "/console/vendor/preact.module.js"):
        first = live.get(path)
        again = live.get(path, **{"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path


@pytest.mark.parametrize(
    "path",
    ["/console/", "/console/files.py", "/console/../settings.py", "/console/%2e%2e/settings.py", "/console/vendor"],
)
def test_no_other_file_is_sent(live: Live, path: str) -> None:
    assert httpx.get(f"{live.url}{path}", timeout=PATIENCE_S).status_code in (401, 404)


def test_without_a_lake_the_page_says_so(live: Live) -> None:
    with serving() as bare:
        assert '<meta name="has-lake" content="no">' in bare.get("/").text
        for path in ("/v1/videos", "/v1/report", "/v1/quarantine", "/v1/videos/x"):
            assert bare.get(path).json()["error"]["code"] == "not_found"
    assert '<meta name="has-lake" content="yes">' in live.get("/").text


def test_videos_are_listed_a_part_at_a_time_and_by_name(live: Live) -> None:
    everything = live.get("/v1/videos").json()
    names = [row["uri"].rpartition("/")[2] for row in everything["rows"]]
    assert (everything["num_rows"], names) == (3, ["cut.mkv", "text.mp4", "whole.mp4"])
    assert [row["uri"] for row in live.get("/v1/videos?offset=1&limit=1").json()["rows"]] == [
        everything["rows"][1]["uri"]
    ]
    assert [row["status"] for row in live.get("/v1/videos?q=WHOLE").json()["rows"]] == ["ok"]
    assert live.get("/v1/videos?q=%25").json()["num_rows"] == 0
    assert live.get("/v1/videos?limit=0").status_code == 400


def video_of(live: Live, name: str) -> dict[str, Any]:
    [row] = live.get(f"/v1/videos?q={name}").json()["rows"]
    found: dict[str, Any] = live.get(f"/v1/videos/{row['video_id']}").json()
    return found


def test_a_video_is_told_with_its_samples_and_what_is_missing(live: Live) -> None:
    whole, cut, text = (video_of(live, name) for name in ("whole.mp4", "cut.mkv", "text.mp4"))
    assert whole["samples"]["time_s"] == [0.0, 0.52, 1.0, 1.52, 2.0]
    assert whole["missing"] == []
    [missing] = cut["missing"]
    assert (missing["kind"], missing["reason"], missing["end_s"]) == (
        "failed",
        "truncated",
        pytest.approx(4.0, abs=0.1),
    )
    assert 0 < missing["start_s"] < 4
    assert [each["reason"] for each in text["missing"]] == ["not_video"]
    assert text["samples"] == {"epoch": [], "pts": [], "time_s": []}
    assert live.get("/v1/videos/none").status_code == 404


def test_the_picture_of_a_sample_is_a_jpeg_of_the_size_that_was_asked_for(live: Live) -> None:
    video = video_of(live, "whole.mp4")
    path = f"/v1/videos/{video['video']['video_id']}/picture"
    pts = video["samples"]["pts"][2]
    picture = live.get(f"{path}?pts={pts}&size=80")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert picture.headers["cache-control"].startswith("private")
    assert live.get(f"{path}?pts={pts + 1}").status_code == 204
    for wrong in ("", "?pts=x", f"?pts={pts}&size=0", f"?pts={pts}&size=100000", f"?pts={pts}&epoch=-1"):
        assert live.get(path + wrong).status_code == 400, wrong
    assert live.get(f"/v1/videos/none/picture?pts={pts}").status_code == 404


def test_words_are_told_with_the_labels_that_they_mean_or_with_near_ones(live: Live) -> None:
    """The classes of this model have numbers for names."""
    assert live.get("/v1/labels?words=17").json() == {"labels": ["17"], "near": []}
    unknown = live.get("/v1/labels?words=1712").json()
    assert unknown["labels"] == []
    assert unknown["near"]
    assert live.get("/v1/labels?words=").status_code == 400


def test_quarantine_is_listed_by_reason(live: Live) -> None:
    found = live.get("/v1/quarantine").json()
    assert found["reasons"] == {"not_video": 1, "truncated": 1}
    assert found["num_rows"] == 2
    assert [row["reason"] for row in live.get("/v1/quarantine?reason=truncated").json()["rows"]] == ["truncated"]


def test_the_report_is_that_of_the_command(live: Live, lake: Path) -> None:
    [dataset] = live.get("/v1/report").json()["datasets"]
    assert dataset["uri"] == str(lake)
    assert dataset["status"]["reasons"] == {"not_video": 1, "truncated": 1}


def test_a_video_that_comes_while_the_server_runs_is_listed(tmp_path: Path) -> None:
    dataset, token = open_lake(tmp_path / "lake", {"a": np.ones((3, DIM), np.float32)})
    with serving(lake=dataset.store.uri) as live:
        assert live.get("/v1/videos").json()["num_rows"] == 1
        publish_plan(dataset, plan_table(planned("b")), token=token)
        dataset.publish_features(finished("b"), dataset_info(), token=token)
        listed = Ids([id_bytes(pa.chunked_array([[id_of("a"), id_of("b")]]))])
        publish_listed(dataset, listed, shard=WHOLE, token=token)
        derive(dataset, shard=WHOLE, token=token)
        deadline = time.monotonic() + PATIENCE_S
        while (found := live.get("/v1/videos").json()["num_rows"]) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == 2
        assert len(live.get(f"/v1/videos/{id_of('b')}").json()["samples"]["pts"]) == 2
