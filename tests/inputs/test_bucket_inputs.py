"""INPUT words, manifests, weights and videos in object stores: what is listed, what is fetched, what comes out."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ClipFactory
from rows import TINY
from safetensors.torch import save_file
from store_proxy import proxy_before
from stores import ACCOUNT_KEY, ObjectStore, only_variables

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import Source, listed_video
from pipeline.media.process.sandbox import Sandbox
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.registry import load_model
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import pixels_of, table_of
from pipeline.records.schemas import SOURCES, TASKS
from pipeline.records.segments import Sizing, VideoPlan
from pipeline.stages.decode import decode_tasks
from pipeline.stages.plan import plan_sources
from pipeline.storage.buckets.bucket import Bucket
from pipeline.storage.retry import RetryPolicy
from pipeline.storage.schemes import stat

QUICK = RetryPolicy(attempts=2, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.01, jitter_s=0.0)
ROOT = Path(__file__).resolve().parents[2]
NAMES = ["b.mp4", "a/2.ts", "a/1.csv", "a.mkv", "a/deep/x.mp4", ".hidden.mp4", ".git/y.mp4", "[1].mp4"]
EVERYTHING = ["[1].mp4", "a.mkv", "a/1.csv", "a/2.ts", "a/deep/x.mp4", "b.mp4"]


@pytest.fixture(params=["s3", "azure", "gcs"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """Each object store in turn, and the variables set with which it is found."""
    running: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    with only_variables(running.environment()):
        yield running


@pytest.fixture
def archive(store: ObjectStore, bucket: str) -> str:
    """A folder of objects in a bucket, beside another whose name only begins alike."""
    for name in [*(f"archive/{name}" for name in NAMES), "archives/z.mp4"]:
        store.put(f"{bucket}/{name}", name.encode())
    return f"{bucket}/archive"


def listed(words: Sequence[str], *, below: str, exclude: str | None = None) -> list[str]:
    return [source.uri.removeprefix(f"{below}/") for source in Inputs(words, exclude=exclude, retry=QUICK)]


# Words


@pytest.mark.parametrize("slash", ["", "/"])
def test_folder_is_listed_whole_sorted_without_hidden_names(archive: str, slash: str) -> None:
    assert listed([f"{archive}{slash}"], below=archive) == EVERYTHING


def test_bucket_is_a_folder(archive: str) -> None:
    place = archive.removesuffix("/archive")
    assert listed([place], below=place) == [*(f"archive/{name}" for name in EVERYTHING), "archives/z.mp4"]


def test_object_is_a_source_and_comes_before_a_folder_of_its_name(store: ObjectStore, archive: str) -> None:
    uri = f"{archive}/b.mp4"
    store.put(f"{uri}/below.mp4", b"1")
    assert list(Inputs([uri])) == [
        Source(uri=uri, locator=uri, identity=stat(uri), start_s=None, end_s=None, failure=None, columns={})
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("*.mp4", ["[1].mp4", "b.mp4"], id="star"),
        pytest.param("?.mp4", ["b.mp4"], id="question-mark"),
        pytest.param("[ab].*", ["a.mkv", "b.mp4"], id="set"),
        pytest.param("[1].mp4", ["[1].mp4"], id="a-literal-key-wins"),
        pytest.param("**/*.mp4", ["[1].mp4", "a/deep/x.mp4", "b.mp4"], id="two-stars-reach-any-depth"),
        pytest.param("a/**", ["a/1.csv", "a/2.ts", "a/deep/x.mp4"], id="two-stars-at-the-end-are-a-folder"),
        pytest.param("*/deep", ["a/deep/x.mp4"], id="a-folder-that-matches-is-expanded"),
        pytest.param("*/deep/**/*.mp4", ["a/deep/x.mp4"], id="two-stars-may-stand-for-nothing"),
        pytest.param("*/*.csv", ["a/1.csv"], id="a-list-that-matches-is-a-file-like-any"),
        pytest.param(".*.mp4", [".hidden.mp4"], id="hidden-names-only-when-asked-for"),
        pytest.param("../arch*/b.mp4", ["b.mp4"], id="a-pattern-for-a-folder"),
    ],
)
def test_pattern_matches_as_it_does_on_a_disk(archive: str, pattern: str, names: list[str]) -> None:
    word = f"{archive.removesuffix('/archive')}/{pattern[3:]}" if pattern.startswith("../") else f"{archive}/{pattern}"
    assert listed([word], below=archive) == names


@pytest.mark.parametrize("name", ["absent.mp4", "absent.csv", "absent/", "*.avi", "**/*.avi", "arch"])
def test_word_that_matches_nothing_is_a_usage_error(archive: str, name: str) -> None:
    with pytest.raises(UsageError, match="no such input: "):
        Inputs([f"{archive}/{name}"], retry=QUICK)


def test_dataset_inside_the_input_is_passed_over(store: ObjectStore, archive: str) -> None:
    store.put(f"{archive}/out/features/part.mp4", b"1")
    store.put(f"{archive}/outer.mp4", b"1")
    found = listed([archive, f"{archive}/**/*.mp4"], below=archive, exclude=f"{archive}/out/")
    assert [name for name in found if name.startswith("out")] == ["outer.mp4"]


def test_marker_of_an_empty_folder_is_no_file(s3_store: ObjectStore) -> None:
    with only_variables(s3_store.environment()):
        place = s3_store.new_bucket()
        for name in ("in/", "in/sub/", "in/sub/a.mp4", "in/empty/"):
            s3_store.put(f"{place}/{name}", b"" if name.endswith("/") else b"1")
        s3_store.put(f"{place}/in/nothing.mp4", b"")
        assert listed([f"{place}/in"], below=place) == ["in/nothing.mp4", "in/sub/a.mp4"]


def test_bucket_or_credentials_that_are_refused_are_a_usage_error(store: ObjectStore, archive: str) -> None:
    if store.family == "gcs":
        pytest.skip("the emulator answers 500 for a bucket that is not there, and takes any credentials")
    for word in (f"{archive.removesuffix('/archive')}-absent/", f"{archive.removesuffix('/archive')}-absent/a.mp4"):
        with pytest.raises(UsageError, match="no such bucket"):
            Inputs([word], retry=QUICK)
    if store.family == "azure":
        wrong = store.environment()["AZURE_STORAGE_CONNECTION_STRING"].replace(ACCOUNT_KEY, "c2VjcmV0")
        for word in (archive, f"{archive}/b.mp4", f"{archive}/*.mp4"):
            with only_variables({"AZURE_STORAGE_CONNECTION_STRING": wrong}), pytest.raises(UsageError, match="set AZ"):
                Inputs([word], retry=QUICK)


@pytest.fixture(scope="module")
def crowd(s3_store: ObjectStore) -> tuple[str, list[str]]:
    """A bucket of three pages of objects, and their keys."""
    place, keys = s3_store.new_bucket(), [f"in/{index:05}.mp4" for index in range(2_050)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: s3_store.put(f"{place}/{key}", b"1"), keys))
    return place, keys


def test_listing_is_a_stream_that_asks_of_no_object_by_itself(
    s3_store: ObjectStore, crowd: tuple[str, list[str]]
) -> None:
    place, keys = crowd
    with proxy_before(s3_store) as proxy, only_variables(s3_store.environment(url=proxy.url)):
        inputs = iter(Inputs([f"{place}/in"]))
        proxy.passed.clear()
        first = next(inputs)
        assert first.identity.size_bytes == 1
        assert first.identity.etag
        assert len(proxy.passed) < 3
        assert [first.uri, *(source.uri for source in inputs)] == [f"{place}/{key}" for key in keys]
        # Three pages; a server that a busy machine keeps from answering is asked for one again.
        assert {passed.method for passed in proxy.passed} == {"GET"}
        assert 3 <= len(proxy.passed) < 9


def test_listing_that_breaks_off_goes_on_where_it_was(s3_store: ObjectStore, crowd: tuple[str, list[str]]) -> None:
    place, keys = crowd
    with proxy_before(s3_store) as proxy, only_variables(s3_store.environment(url=proxy.url)):
        found = Bucket.of(place)[0].objects("", retry=QUICK)
        keys_found = [next(found).key]
        proxy.faults.append("truncate")
        assert keys_found + [each.key for each in found] == keys
        assert not proxy.faults


# Manifests


def test_manifest_in_a_bucket_names_its_neighbours(store: ObjectStore, archive: str) -> None:
    other = f"{archive.removesuffix('/archive')}/archives/z.mp4"
    lines = ["uri,start_s,end_s,camera", "../b.mp4,1.5,3,north", f"{other},,,south", "/archive/a.mkv,,,", "deep/,,,"]
    store.put(f"{archive}/a/list.csv", "\n".join(lines).encode())
    found = list(Inputs([f"{archive}/a/list.csv"]))
    assert [source.uri for source in found] == [
        f"{archive}/b.mp4",
        other,
        f"{archive}/a.mkv",
        f"{archive}/a/deep/x.mp4",
    ]
    assert (found[0].start_s, found[0].end_s) == (Fraction(3, 2), Fraction(3))
    assert [source.columns for source in found[:2]] == [{"camera": "north"}, {"camera": "south"}]
    assert [source.identity for source in found] == [stat(source.uri) for source in found]


def test_manifests_of_other_forms_and_on_a_disk(store: ObjectStore, archive: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["b.mp4"], "day": [3]}), tmp_path / "list.parquet")
    store.put(f"{archive}/list.parquet", (tmp_path / "list.parquet").read_bytes())
    store.put(f"{archive}/list.txt", b"# mine\na.mkv\n")
    (tmp_path / "local.txt").write_text(f"{archive}/a/2.ts\n{archive}/absent.mp4\n")
    words = [f"{archive}/list.parquet", f"{archive}/list.txt", str(tmp_path / "local.txt")]
    found = list(Inputs(words, retry=QUICK))
    assert [source.uri.removeprefix(f"{archive}/") for source in found] == ["b.mp4", "a.mkv", "a/2.ts", "absent.mp4"]
    assert [source.failure for source in found] == [None, None, None, ("unreadable", "does not exist")]


def test_manifest_of_a_bucket_that_is_refused_fails_and_quarantines_nothing(
    store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    if store.family == "gcs":
        pytest.skip("the emulator says of a bucket that is not there that the object is not")
    (tmp_path / "list.txt").write_text("".join(f"{bucket}-absent/{index}.mp4\n" for index in range(200)))
    with pytest.raises(StorageError, match="no such bucket"):
        list(Inputs([str(tmp_path / "list.txt")], retry=QUICK))


# Weights


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_are_fetched_from_a_bucket(store: ObjectStore, bucket: str, tmp_path: Path, suffix: str) -> None:
    model = load_model("video_cnn", weights="random:3")
    path = tmp_path / f"w.{suffix}"
    state = {f"module.{name}": value for name, value in whole_state("video_cnn", seed=3).items()}
    if suffix == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    store.put(f"{bucket}/{path.name}", path.read_bytes())
    assert load_model("video_cnn", weights=f"{bucket}/{path.name}").info == model.info


def whole_state(name: str, *, seed: int) -> dict[str, torch.Tensor]:
    from pipeline.models.network import NUM_CLASSES, seeded
    from pipeline.models.zoo.video_cnn import VideoCNN

    assert name == "video_cnn"
    return dict(seeded(lambda: VideoCNN(NUM_CLASSES), seed=seed).state_dict())


def test_weights_that_are_not_there_are_a_usage_error(bucket: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_model("video_cnn", weights=f"{bucket}/absent.pt")


# Videos


def decoded(uri: str, *, rule: SamplingRule) -> tuple[pa.Table, list[Any]]:
    """Plan and decode the video at an address; its rows, and the pictures of each."""
    [source] = Inputs([uri])
    rows = table_of([listed_video(source, attempts=1).to_row()], SOURCES)
    with Sandbox(DecodeLimits()) as sandbox:
        sizing = Sizing(max_samples=10, duration_s=0.4)
        [planned] = plan_sources(rows, sandbox=sandbox, rule=rule, sizing=sizing)
        assert isinstance(planned.result, VideoPlan)
        tasks = table_of([{**planned.to_row(), "segment": each.to_json()} for each in planned.result.segments], TASKS)
        samples = pa.concat_tables(decode_tasks(tasks, sandbox=sandbox, rule=rule, preprocessings=(TINY,)))
    return samples, pixels_of(samples, height=4, width=4)


def test_a_video_in_a_bucket_decodes_as_it_does_on_a_disk(store: ObjectStore, bucket: str, clips: ClipFactory) -> None:
    path = clips(gop=10, num_frames=50)
    store.put(f"{bucket}/in/clip.mp4", path.read_bytes())
    rule = parse_rule("all")
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        proxy.faults.extend(["503", "reset"])
        there, pictures = decoded(f"{bucket}/in/clip.mp4", rule=rule)
        assert not proxy.faults
    here, expected = decoded(str(path), rule=rule)
    assert set(there["reason"].to_pylist()) == {None}
    assert there["pts"].to_pylist() == here["pts"].to_pylist()
    assert all(np.array_equal(one, other) for one, other in zip(pictures, expected, strict=True))


def test_a_segment_in_the_middle_costs_its_own_bytes(s3_store: ObjectStore, clips: ClipFactory) -> None:
    path = clips(num_frames=1500, gop=25, width=640, height=360, options={"crf": "1", "preset": "ultrafast"}, bframes=0)
    size_bytes = path.stat().st_size
    assert size_bytes > 30_000_000
    with proxy_before(s3_store) as proxy, only_variables(s3_store.environment(url=proxy.url)):
        place = s3_store.new_bucket()
        s3_store.put(f"{place}/long.mp4", path.read_bytes())
        [source] = Inputs([f"{place}/long.mp4"])
        rows = table_of([listed_video(source, attempts=1).to_row()], SOURCES)
        rule = parse_rule("fps:1")
        with Sandbox(DecodeLimits()) as sandbox:
            proxy.passed.clear()
            [planned] = plan_sources(rows, sandbox=sandbox, rule=rule, sizing=Sizing(max_samples=64, duration_s=6.0))
            planning_bytes = proxy.num_bytes
            assert isinstance(planned.result, VideoPlan)
            middle = planned.result.segments[len(planned.result.segments) // 2]
            tasks = table_of([{**planned.to_row(), "segment": middle.to_json()}], TASKS)
            proxy.passed.clear()
            [samples] = decode_tasks(tasks, sandbox=sandbox, rule=rule, preprocessings=(TINY,))
    assert samples["num_samples"].to_pylist() == [6]
    assert planning_bytes < size_bytes / 4
    assert proxy.num_bytes < size_bytes / 4


# Without the driver


@pytest.mark.slow
def test_missing_driver_is_one_line_that_names_the_extra() -> None:
    block = "import sys; sys.modules['obstore'] = None; from pipeline.cli.main import main; main()"
    for scheme, extra in (("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("abfss", "azure")):
        words = ["extract", f"{scheme}://bucket/in", "--out", "lake"]
        answer = subprocess.run(
            [sys.executable, "-c", block, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 2
        expected = f"{scheme}:// needs a driver that is not installed: pip install 'vidlake[{extra}]'"
        assert answer.stderr.strip().endswith(expected)
        assert len(answer.stderr.strip().splitlines()) == 1


def test_local_use_loads_no_driver(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"1")
    show = (
        "import json, sys, pipeline.cli.main, pipeline.extract.jobs; from pipeline.inputs.input_words import Inputs;"
        f"assert list(Inputs([{str(tmp_path)!r}])); print(json.dumps(sorted(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(json.loads(answer.stdout)).isdisjoint({"obstore", "boto3", "botocore", "azure", "google.auth"})
