"""Ids of videos: sets of them that answer like sets of strings, their keys with segments, and whose shard they are."""

import random
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from rows import id_of

from pipeline.records.ids import Ids, id_bytes, ids_of_keys, in_shard, segment_keys, segments_of_keys, spelled_keys
from pipeline.records.shards import Shard

NUM_IDS = 60_000


def ids_of(seed: int) -> list[str]:
    """Some of them begin or end in zeros, which numpy leaves out of what it compares."""
    chosen = random.Random(seed)
    ids = [f"{chosen.getrandbits(80):020x}" for _ in range(NUM_IDS)]
    return [video_id[:14] + "000000" if at % 50 == 0 else video_id for at, video_id in enumerate(ids)] + ["0" * 20]


def test_what_was_added_is_in_it_and_nothing_else() -> None:
    added, others = ids_of(1), ids_of(2)
    ids, expected = Ids(), set[str]()
    for video_id, other in zip(added, others, strict=True):
        assert (video_id in ids) == (video_id in expected)
        assert (other in ids) == (other in expected)
        assert ids.add(video_id) == (video_id not in expected)
        expected.add(video_id)
    assert len(ids) == len(expected)
    assert [video_id for part in ids.to_arrow() for video_id in part.to_pylist()] == sorted(expected)


def test_what_is_no_id_is_in_no_set() -> None:
    ids = Ids()
    ids.add("0" * 20)
    assert not any(word in ids for word in ("", "0", "0" * 18, "0" * 22, "G" * 20, "A" * 20, "0" * 9 + " " + "0" * 10))
    with pytest.raises(ValueError, match="no video's id"):
        ids.add("A" * 20)


def test_an_id_takes_a_few_bytes() -> None:
    added = ids_of(1)
    ids = Ids()
    tracemalloc.start()
    for video_id in added:
        ids.add(video_id)
    assert len(ids) == len(set(added))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 15 * NUM_IDS


def test_ids_are_a_set() -> None:
    ids = Ids()
    names = [id_of(str(at)) for at in range(25_000)]
    for name in [*names, *names[:5]]:
        ids.add(name)
    assert len(ids) == 25_000
    assert names[7] in ids
    assert id_of("other") not in ids
    assert ids.mask(pa.chunked_array([[names[3], id_of("other")]])).tolist() == [True, False]
    assert pa.chunked_array(ids.to_arrow()).to_pylist() == sorted(names)
    assert len(Ids()) == 0
    assert names[0] not in Ids()
    with pytest.raises(ValueError, match="more than 20 characters"):
        Ids().mask(pa.chunked_array([["x" * 21]]))


EDGES = ["0" * 20, "0" * 19 + "1", "00" + "f" * 18, "7f" * 10, "80" * 9 + "00", "80" * 10, "f" * 18 + "00", "f" * 20]
"""In the order of ids: packed, some end in zero bytes, which numpy's strings do not show, and some begin above 127."""


def test_packed_ids_sort_and_are_found_as_spelled_ones_are() -> None:
    spelled = id_bytes(pa.chunked_array([EDGES]))
    ids = Ids([spelled[::-1]])
    assert ids.to_bytes().tolist() == spelled.tolist()
    assert ids.find(spelled).tolist() == list(range(len(EDGES)))
    assert all(each in ids for each in EDGES)
    assert Ids([spelled[:-1]]).find(spelled).tolist() == [*range(len(EDGES) - 1), -1]


def test_segment_keys_sort_by_video_and_segment_and_can_be_taken_apart() -> None:
    spelled = np.repeat(id_bytes(pa.chunked_array([EDGES])), 3)
    segments = np.tile([-1, 0, 255], len(EDGES))
    keys = segment_keys(spelled, segments)
    assert np.sort(keys).tolist() == keys.tolist()
    assert ids_of_keys(keys).tolist() == spelled.tolist()
    assert segments_of_keys(keys).tolist() == segments.tolist()
    long_keys = [video + int(segment + 1).to_bytes(4, "big") for video, segment in zip(spelled, segments, strict=True)]
    assert spelled_keys(keys) == b"".join(long_keys), "digests of lakes that exist are made of these bytes"


@pytest.mark.parametrize("name", ["", "a", "A" * 20, "g" * 20, " " + "a" * 19, "a" * 18])
def test_what_is_no_id_is_in_no_set_and_gets_into_none(name: str) -> None:
    ids, no_ids = Ids([id_bytes(pa.chunked_array([EDGES]))]), pa.chunked_array([[name]])
    assert name not in ids
    assert not ids.mask(no_ids).any()
    with pytest.raises(ValueError, match="is no video's id"):
        ids.add(name)
    with pytest.raises(ValueError, match="is no video's id"):
        segment_keys(id_bytes(no_ids), np.array([0]))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000])
def test_shards_are_disjoint_and_complete_one_by_one_and_in_bulk(count: int) -> None:
    names = [id_of(str(at)) for at in range(500)]
    ids = id_bytes(pa.chunked_array([names]))
    masks = [in_shard(ids, Shard(index=index, count=count)) for index in range(1, count + 1)]
    assert np.stack(masks).sum(axis=0).tolist() == [1] * len(names)
    assert masks[0].tolist() == [Shard(index=1, count=count).holds(name) for name in names]
