"""A dataset in a bucket: files appear whole, conditions are heeded, and a footer costs no more than a footer."""

import pickle
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import config, dataset_info, finished, new_dataset, plan_table, planned
from store_proxy import proxy_before
from stores import ObjectStore, only_variables

from pipeline.errors import StorageError, UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import PlanFiles, Planned, publish_plan
from pipeline.lake.publishing.bucket_lease import BucketBackend
from pipeline.lake.publishing.bucket_store import BucketStore
from pipeline.lake.publishing.store import MissingFile
from pipeline.lake.tables import derive
from pipeline.records.shards import WHOLE
from pipeline.storage.buckets.bucket import Bucket
from pipeline.storage.retry import RetryPolicy

INFO = dataset_info()
QUICK = RetryPolicy(attempts=3, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.02, jitter_s=0.0)
AT_BEAT_AND_REGISTER: list[Any] = ["lose the answer", "let the second try pass", "lose the answer"]


@pytest.fixture
def lake(bucket_place: str) -> BucketStore:
    return BucketStore(bucket_place, retry=QUICK)


def test_published_files_are_listed_read_and_removed(lake: BucketStore) -> None:
    assert lake.list("features") == []
    assert lake.publish("features/b.parquet", b"bb")
    assert lake.publish("features/a.parquet", b"aa")
    assert lake.publish("features/deeper/c.parquet", b"cc")
    assert lake.publish("features-of-others/d.parquet", b"dd")
    assert lake.list("features") == ["features/a.parquet", "features/b.parquet"]
    assert lake.versions("features")["features/a.parquet"] == lake.version("features/a.parquet")
    assert lake.read("features/a.parquet") == lake.open_input("features/a.parquet").read() == b"aa"
    lake.remove("features/a.parquet")
    lake.remove("features/a.parquet")
    assert lake.list("features") == ["features/b.parquet"]


def test_a_name_is_taken_once_unless_overwritten_or_replaced(lake: BucketStore) -> None:
    assert lake.publish("x", b"first")
    assert not lake.publish("x", b"second")
    assert lake.publish("x", b"third", overwrite=True)
    version = lake.version("x")
    assert lake.replace("x", b"fourth", version=version)
    assert not lake.replace("x", b"fifth", version=version)
    assert not lake.replace("x", b"fifth", version=None)
    assert lake.read("x") == b"fourth"
    assert lake.replace("y", b"new", version=None)


def test_missing_files_are_storage_errors_of_their_own(lake: BucketStore) -> None:
    for attempt in (lake.read, lake.open_input):
        with pytest.raises(MissingFile, match=r"lake/_vidlake/config\.json"):
            attempt("_vidlake/config.json")
    assert (lake.version("x"), lake.fetch("x"), lake.modified_s("x")) == (None, None, None)


def test_store_survives_pickling(lake: BucketStore) -> None:
    lake.publish("x", b"x")
    assert pickle.loads(pickle.dumps(lake)).read("x") == b"x"


def test_probing_leaves_nothing(lake: BucketStore, bucket: str) -> None:
    lake.ensure_writable()
    assert list(Bucket.of(bucket)[0].objects("")) == []


def test_bucket_that_is_not_there_is_a_usage_error_in_one_line(bucket: str) -> None:
    with pytest.raises(UsageError, match=r"cannot write to .*-missing/lake: .*no such bucket") as caught:
        BucketStore(f"{bucket}-missing/lake", retry=QUICK).ensure_writable()
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="-missing: there is no such bucket"):
        Dataset.at(f"{bucket}-missing/lake").info()


@pytest.mark.parametrize("fault", ["503", "reset", "lose the answer"])
def test_publishing_gets_over_faults_and_finds_its_own_bytes(store: ObjectStore, bucket_place: str, fault: str) -> None:
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        proxy.methods = ("PUT",)
        lake = BucketStore(bucket_place, retry=QUICK)
        proxy.faults.extend([fault, fault])  # type: ignore[list-item]
        assert lake.publish("features/a", b"rows")
        version = lake.version("features/a")
        proxy.faults.extend([fault, fault])  # type: ignore[list-item]
        assert lake.replace("features/a", b"more rows", version=version)
        assert lake.read("features/a") == b"more rows"


def test_lease_is_taken_and_given_back_once_though_answers_are_lost(store: ObjectStore, bucket_place: str) -> None:
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        proxy.methods = ("PUT",)
        lake = BucketBackend(bucket_place, retry=QUICK)
        for _ in range(2):
            proxy.faults.extend(AT_BEAT_AND_REGISTER)
            held = lake.acquire(slot=WHOLE)
            proxy.faults.clear()
            with pytest.raises(UsageError, match="in use"):
                lake.acquire(slot=WHOLE)
            proxy.faults.append("lose the answer")
            held.release()


def test_store_that_keeps_failing_is_a_storage_error_without_a_secret(store: ObjectStore, bucket_place: str) -> None:
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        lake = BucketStore(bucket_place, retry=QUICK)
        proxy.outage = "503"
        for attempt in (lambda: lake.publish("x", b"x"), lambda: lake.list("x"), lambda: lake.read("x")):
            with pytest.raises(StorageError, match="run the same command again") as caught:
                attempt()
            assert not any(secret in str(caught.value) for secret in store.environment().values())
        with pytest.raises(StorageError):
            lake.ensure_writable()


def test_what_is_done_is_told_by_footers_that_are_read_alone(store: ObjectStore, bucket_place: str) -> None:
    dataset, token = new_dataset(bucket_place)
    segments = pa.concat_tables([finished("a", at, num_samples=100_000) for at in range(2)])
    num_bytes = dataset.publish_features(segments, INFO, token=token)
    assert num_bytes > 1_000_000
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        settled = Dataset.at(bucket_place).settled().to_pylist()
        assert proxy.num_bytes < num_bytes / 4
    assert [(row["segment"], row["num_samples"]) for row in settled] == [(0, 100_000), (1, 100_000)]


def test_dataset_in_a_bucket_is_like_one_in_a_folder(bucket_place: str) -> None:
    dataset, token = new_dataset(bucket_place)
    publish_plan(dataset, plan_table(planned("a"), planned("b", reason="not_video")), token=token)
    dataset.publish_features(finished("a"), INFO, token=token)
    dataset.settle([], INFO, token=token)
    found = derive(dataset, shard=WHOLE, token=token)
    assert found.videos == {"ok": 1, "partial": 0, "failed": 1, "unfinished": 0}
    again = Dataset.at(bucket_place)
    assert again.info() == INFO
    with pytest.raises(UsageError, match="--model is tiny, not huge"):
        again.check(config(model="huge"))
    assert derive(again, shard=WHOLE, token=token) == found
    [videos] = again.store.list("videos")
    assert pq.read_table(again.store.open_input(videos))["status"].to_pylist() == ["ok", "failed"]


def test_stand_ins_of_dead_workers_are_files_that_every_reader_takes(bucket_place: str) -> None:
    """As where a run died between announcing a file and putting it."""
    dataset, token = new_dataset(bucket_place)
    publish = BucketStore.publish
    with pytest.MonkeyPatch.context() as patch:

        def die(lake: BucketStore, name: str, data: bytes, *, overwrite: bool = False) -> bool:
            if name.startswith(("features/", "_vidlake/plan/")):
                raise StorageError("killed")
            return publish(lake, name, data, overwrite=overwrite)

        patch.setattr(BucketStore, "publish", die)
        for write in (
            lambda: publish_plan(dataset, plan_table(planned("a", camera="north")), token=token),
            lambda: dataset.publish_features(finished("a"), INFO, token=token),
        ):
            with pytest.raises(StorageError, match="killed"):
                write()
    register = "_vidlake/leases/register.json"
    dataset.store.publish(register, b'{"holders": {}}', overwrite=True)
    token = dataset.backend.acquire(slot=WHOLE).token
    assert len(dataset.store.list("features")) == len(PlanFiles(dataset.files).names()) == 1
    assert dataset.settled().num_rows == len(Planned(dataset).ids) == 0
    publish_plan(dataset, plan_table(planned("a", camera="north")), token=token)
    dataset.publish_features(finished("a"), INFO, token=token)
    assert derive(dataset, shard=WHOLE, token=token).videos["ok"] == 1, "the names of the same work are free"


HEAD = {"head.json": b"{}", "weights.safetensors": b"numbers"}


def test_a_folder_is_there_with_its_mark_and_its_name_is_taken_once(lake: BucketStore) -> None:
    assert lake.folders("people") == []
    lake.publish("people/1/weights.safetensors", b"half of a dead run's")
    assert lake.publish_folder("people/1", HEAD)
    assert lake.publish_folder("people/1", HEAD), "what is there is what was to be"
    assert not lake.publish_folder("people/1", {**HEAD, "weights.safetensors": b"others"})
    assert not lake.publish_folder("people/1", {**HEAD, "metrics.json": b"more"})
    assert {file: lake.read(f"people/1/{file}") for file in HEAD} == HEAD
    assert lake.publish_folder("people/10", HEAD)
    assert lake.folders("people") == ["1", "10"]
    assert lake.folders("") == ["people"]
    with pytest.raises(ValueError, match=r"head\.json"):
        lake.publish_folder("people/2", {"weights.safetensors": b""})


def test_a_folder_whose_files_do_not_arrive_has_no_mark(store: ObjectStore, bucket_place: str) -> None:
    with proxy_before(store) as proxy, only_variables(store.environment(url=proxy.url)):
        lake = BucketStore(bucket_place, retry=QUICK)
        proxy.methods = ("PUT",)
        proxy.outage = "503"
        with pytest.raises(StorageError):
            lake.publish_folder("1", HEAD)
        assert lake.version("1/head.json") is None
        proxy.outage = None
        assert lake.publish_folder("1", HEAD)


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_else(lake: BucketStore) -> None:
    for name in ("inputs/features/a.parquet", "inputs/_vidlake/config.json", "inputs.json", "inputs2/a"):
        assert lake.publish(name, b"")
    lake.remove_folder("inputs")
    lake.remove_folder("inputs")
    assert lake.list("inputs/features") == lake.list("inputs/_vidlake") == []
    assert lake.read("inputs.json") == lake.read("inputs2/a") == b""
    for name in ("", "..", "/"):
        with pytest.raises(ValueError, match=r"not a name|root"):
            lake.remove_folder(name)
