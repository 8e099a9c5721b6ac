"""A set of video ids in a few bytes each answers like a set of strings."""

import random
import tracemalloc

import pytest

from pipeline.records.ids import Ids

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
