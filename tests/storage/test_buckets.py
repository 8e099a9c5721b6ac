"""Operations on real object stores: what comes back, what each failure counts as, and what a retry may not break."""

import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from store_proxy import Fault, FaultyProxy, proxy_before
from stores import ACCOUNT_KEY, ObjectStore, only_variables

from pipeline.errors import Changed, StorageError, Unreadable, UsageError
from pipeline.storage.buckets.bucket import Bucket
from pipeline.storage.buckets.errors import BucketRefused
from pipeline.storage.reader import Gone
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy
from pipeline.storage.schemes import open_reader, stat

QUICK = RetryPolicy(attempts=4, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.02, jitter_s=0.0)
CONTENT = bytes(range(256)) * 20_000
ODD_NAMES = ["a b.mp4", "50%25.mp4", "ü.mp4", "a#b?c=d&&.mp4", "[1].mp4", 'quo"te.mp4', "~+:;@!$',().mp4"]


@pytest.fixture
def proxy(store: ObjectStore) -> Iterator[FaultyProxy]:
    """Stands between the store and us."""
    with proxy_before(store) as standing, only_variables(store.environment(url=standing.url)):
        yield standing


def whole(bucket: str) -> Bucket:
    return Bucket.of(bucket)[0]


# Without faults


def test_listing_and_asking_tell_the_same_of_an_object(store: ObjectStore, bucket: str) -> None:
    store.put(f"{bucket}/a/b.mp4", CONTENT)
    [listed] = whole(bucket).objects("a")
    assert listed.key == "a/b.mp4"
    assert listed.identity == stat(f"{bucket}/a/b.mp4")
    assert listed.identity.size_bytes == len(CONTENT)
    assert listed.identity.etag


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_key_is_taken_as_written(store: ObjectStore, bucket: str, name: str) -> None:
    store.put(f"{bucket}/in/{name}", b"abc")
    [listed] = whole(bucket).objects("in")
    assert listed.key == f"in/{name}"
    with open_reader(f"{bucket}/in/{name}", expected=listed.identity) as reader:
        assert reader.uri == f"{bucket}/in/{name}"
        assert reader.read_at(0, 10) == b"abc"


def test_a_folder_is_no_beginning_of_a_name(store: ObjectStore, bucket: str) -> None:
    for key in ("cam/2.mp4", "cam/1/x.mp4", "camera/1.mp4", "cam.mp4"):
        store.put(f"{bucket}/{key}", b"1")
    assert [each.key for each in whole(bucket).objects("cam")] == ["cam/1/x.mp4", "cam/2.mp4"]
    assert [each.key for each in whole(bucket).objects("cam/", after="cam/1/x.mp4")] == ["cam/2.mp4"]
    assert whole(bucket).folders("") == ["cam", "camera"]


def test_object_is_read_at_any_offset_in_few_requests(proxy: FaultyProxy, store: ObjectStore, bucket: str) -> None:
    store.put(f"{bucket}/a.mp4", CONTENT)
    with open_reader(f"{bucket}/a.mp4", expected=stat(f"{bucket}/a.mp4")) as reader:
        assert b"".join(reader.read_at(at, 65536) for at in range(0, len(CONTENT), 65536)) == CONTENT
        assert reader.read_at(1_000_001, 5) == CONTENT[1_000_001:1_000_006]
        assert reader.read_at(len(CONTENT) - 3, 100) == CONTENT[-3:]
        assert reader.read_at(len(CONTENT), 1) == b""
        reader.check_unchanged()
    assert len(proxy.passed) <= 8


def test_absent_and_empty_objects_are_unreadable(store: ObjectStore, bucket: str) -> None:
    store.put(f"{bucket}/empty.mp4", b"")
    assert stat(f"{bucket}/empty.mp4").size_bytes == 0
    for name in ("empty.mp4", "absent.mp4", "empty.mp4/below", "a//b.mp4", "a/../b.mp4", ""):
        with pytest.raises(Unreadable):
            open_reader(f"{bucket}/{name}", retry=QUICK)


def test_object_that_is_replaced_while_it_is_read_is_changed(store: ObjectStore, bucket: str) -> None:
    uri = f"{bucket}/a.mp4"
    store.put(uri, CONTENT)
    listed = stat(uri)
    with open_reader(uri, expected=listed) as reader:
        assert reader.read_at(0, 4) == CONTENT[:4]
        store.put(uri, CONTENT[::-1])
        with pytest.raises(Changed):
            reader.read_at(len(CONTENT) - 4, 4)
        with pytest.raises(Changed):
            reader.check_unchanged()
    with pytest.raises(Changed):
        open_reader(uri, expected=listed).read_at(0, 4)
    whole(bucket).delete("a.mp4")
    with open_reader(uri, expected=listed) as reader, pytest.raises(Changed):
        reader.check_unchanged()


def test_an_object_is_created_once(bucket: str) -> None:
    first = whole(bucket).put("a", b"mine", if_absent=True)
    assert first == stat(f"{bucket}/a").etag
    assert whole(bucket).put("a", b"other", if_absent=True) is None
    assert whole(bucket).put("a", b"mine", if_absent=True) == first
    assert whole(bucket).get("a") == (b"mine", stat(f"{bucket}/a"))


def test_an_object_is_replaced_only_where_it_is_the_one_that_is_meant(bucket: str) -> None:
    first = whole(bucket).put("a", b"one")
    second = whole(bucket).put("a", b"two", if_etag=first)
    assert second not in (None, first)
    assert whole(bucket).put("a", b"three", if_etag=first) is None
    assert whole(bucket).put("absent", b"three", if_etag=first) is None
    assert whole(bucket).get("a")[0] == b"two"


def test_removing_what_is_not_there_is_fine(bucket: str) -> None:
    whole(bucket).put("a", b"one")
    whole(bucket).delete("a")
    whole(bucket).delete("a")
    with pytest.raises(Gone):
        whole(bucket).get("a", retry=QUICK)


# Faults on the way

ASKED: list[Callable[[Bucket], object]] = [
    lambda bucket: bucket.head("a", retry=QUICK),
    lambda bucket: bucket.read("a", start=3, end=len(CONTENT), retry=QUICK),
    lambda bucket: bucket.get("a", retry=QUICK),
    lambda bucket: list(bucket.objects("", retry=QUICK)),
    lambda bucket: bucket.folders("", retry=QUICK),
]


@pytest.mark.parametrize("ask", ASKED, ids=["head", "read", "get", "objects", "folders"])
def test_what_passes_is_survived(proxy: FaultyProxy, bucket: str, ask: Callable[[Bucket], object]) -> None:
    whole(bucket).put("a", CONTENT)
    plain = ask(whole(bucket))
    proxy.faults.extend(["503", "reset", "truncate", "500", "truncate"])
    assert ask(whole(bucket)) == plain
    assert not proxy.faults


@pytest.mark.parametrize(
    ("ask", "outage"), [("read", "500"), ("read", "truncate"), ("objects", "503"), ("objects", "reset")]
)
def test_what_lasts_is_a_storage_error(proxy: FaultyProxy, bucket: str, ask: str, outage: Fault) -> None:
    asked: dict[str, Callable[[], object]] = {
        "read": lambda: whole(bucket).read("a", start=0, end=5, retry=QUICK),
        "objects": lambda: list(whole(bucket).objects("", retry=QUICK)),
    }
    whole(bucket).put("a", CONTENT)
    proxy.outage = outage
    with pytest.raises(StorageError, match="run the same command again once the store answers"):
        asked[ask]()


@pytest.mark.parametrize("answer", ["400", "405", "406", "410", "418"])
def test_an_answer_about_one_object_is_unreadable_at_once(proxy: FaultyProxy, bucket: str, answer: Fault) -> None:
    uri = f"{bucket}/a"
    whole(bucket).put("a", CONTENT)
    with open_reader(uri) as reader:
        proxy.outage = answer
        proxy.passed.clear()
        for ask in (lambda: stat(uri), lambda: open_reader(uri), lambda: reader.read_at(0, 5)):
            with pytest.raises(Unreadable, match=answer):
                ask()
    assert len(proxy.passed) <= 8


@pytest.mark.parametrize("answer", ["408", "429", "503"])
def test_an_answer_about_the_store_is_tried_again_and_then_stops_the_run(
    proxy: FaultyProxy, bucket: str, answer: Fault
) -> None:
    whole(bucket).put("a", CONTENT)
    proxy.outage = answer
    with pytest.raises(StorageError, match=answer):
        stat(f"{bucket}/a", retry=QUICK)
    proxy.outage = None
    proxy.faults.append(answer)
    assert stat(f"{bucket}/a", retry=QUICK).size_bytes == len(CONTENT)


@pytest.mark.parametrize("answer", ["400", "405"])
def test_a_listing_that_is_refused_is_no_verdict_on_a_video(proxy: FaultyProxy, bucket: str, answer: Fault) -> None:
    proxy.outage = answer
    with pytest.raises(StorageError, match=answer):
        list(whole(bucket).objects("", retry=QUICK))


def test_a_store_that_is_not_there_is_a_storage_error(store: ObjectStore, bucket: str) -> None:
    with only_variables(store.environment(url="http://127.0.0.1:9")), pytest.raises(StorageError, match="connection"):
        whole(bucket).head("a", retry=QUICK)


@pytest.mark.parametrize("fault", ["lose the answer", "500", "reset"])
def test_a_write_whose_answer_was_lost_is_known_as_ours(proxy: FaultyProxy, bucket: str, fault: Fault) -> None:
    proxy.methods = ("PUT",)
    proxy.faults.append(fault)
    first = whole(bucket).put("a", b"mine", if_absent=True, retry=QUICK)
    assert first == stat(f"{bucket}/a").etag
    proxy.faults.append(fault)
    assert whole(bucket).put("a", b"mine too", if_etag=first, retry=QUICK) == stat(f"{bucket}/a").etag
    proxy.faults.append(fault)
    assert whole(bucket).put("a", b"other", if_absent=True, retry=QUICK) is None
    assert whole(bucket).get("a")[0] == b"mine too"


@pytest.mark.slow
def test_a_store_that_fails_for_twenty_seconds_is_survived(proxy: FaultyProxy, bucket: str) -> None:
    whole(bucket).put("a", b"there")
    proxy.outage = "503"
    recovery = threading.Timer(20, lambda: setattr(proxy, "outage", None))
    recovery.start()
    try:
        assert whole(bucket).read("a", start=0, end=5, retry=DEFAULT_RETRY) == b"there"
    finally:
        recovery.cancel()


# Answers about more than one object


def test_a_bucket_that_does_not_exist_is_no_verdict_on_its_objects(bucket: str) -> None:
    absent = whole(f"{bucket}-absent")
    asked: list[Callable[[], object]] = [
        lambda: absent.head("a"),
        lambda: absent.read("a", start=0, end=1),
        lambda: list(absent.objects("")),
        lambda: absent.folders(""),
        lambda: absent.put("a", b"1"),
        lambda: open_reader(f"{bucket}-absent/a.mp4"),
    ]
    for ask in asked:
        with pytest.raises(BucketRefused, match="no such bucket"):
            ask()


def test_credentials_that_are_not_accepted_are_no_verdict_on_an_object(
    azure_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "c2VjcmV0c2VjcmV0"
    wrong = azure_store.environment()["AZURE_STORAGE_CONNECTION_STRING"].replace(ACCOUNT_KEY, secret)
    with only_variables(azure_store.environment()):
        place = azure_store.new_bucket()
        whole(place).put("a", b"1")
    with only_variables({"AZURE_STORAGE_CONNECTION_STRING": wrong}):
        asked: list[Callable[[], object]] = [
            lambda: whole(place).head("a"),
            lambda: list(whole(place).objects("")),
            lambda: whole(place).put("a", b"1"),
        ]
        for ask in asked:
            with pytest.raises(BucketRefused, match="set AZURE_STORAGE_CONNECTION_STRING") as caught:
                ask()
            assert secret not in str(caught.value)
    assert secret not in caplog.text
    assert "sig=" not in caplog.text


def test_credentials_that_were_good_may_be_renewed(proxy: FaultyProxy, store: ObjectStore, bucket: str) -> None:
    store.put(f"{bucket}/a", b"there")
    proxy.outage = "expired"
    with pytest.raises(BucketRefused, match="the credentials are not accepted; set "):
        whole(bucket).get("a", retry=QUICK)
    proxy.outage = None
    assert whole(bucket).get("a")[0] == b"there"
    proxy.faults.extend(["expired", "expired"])
    assert whole(bucket).get("a", retry=QUICK)[0] == b"there"
    proxy.outage = "expired"
    with pytest.raises(StorageError, match="no longer accepted"):
        whole(bucket).get("a", retry=QUICK)


def test_name_that_the_driver_cannot_list_is_said(s3_store: ObjectStore) -> None:
    with only_variables(s3_store.environment()):
        place = s3_store.new_bucket()
        s3_store.put(f"{place}/in/a//b.mp4", b"1")
        with pytest.raises(BucketRefused, match="rename it, or name the others in a manifest"):
            list(whole(place).objects("in"))


@pytest.mark.parametrize("address", ["s3:///a.mp4", "az://", "gs://"])
def test_address_without_a_bucket_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match="without a bucket's name"):
        Bucket.of(address)
