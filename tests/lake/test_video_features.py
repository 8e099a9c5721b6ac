"""The features of a lake come out video by video: each sample once, in order, however they are spread over files."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rows import DIM, FACTS, config, dataset_info, features_of, finished, id_of, new_dataset, plan_table, planned

from pipeline.errors import UsageError
from pipeline.lake.compaction.compact import compact
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.files import ForeignFile
from pipeline.lake.planned import publish_listed, publish_plan
from pipeline.lake.tables import derive
from pipeline.lake.video_features import LakeFeatures
from pipeline.lake.video_groups import VideoFeatures
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.periods import moment_of
from pipeline.records.shards import WHOLE

NAMES = ("a", "b", "c")
NUM_SEGMENTS = 3


def ids_of(*names: str) -> Any:
    return id_bytes(pa.chunked_array([[id_of(name) for name in names]]))


def num_samples(name: str, segment: int) -> int:
    """From none to five."""
    return (2 * NAMES.index(name) + 3 * segment) % 6


def lake(folder: Path, *, per_file: int = 2, info: DatasetInfo | None = None, **further: Any) -> Dataset:
    """Three videos of three segments each, which lie beside those of others, and not in order."""
    dataset, token = new_dataset(folder)
    publish_plan(dataset, plan_table(*(planned(n, segments=NUM_SEGMENTS, **further) for n in NAMES)), token=token)
    work = [(name, segment) for segment in (2, 0, 1) for name in NAMES]
    for at in range(0, len(work), per_file):
        rows = [
            finished(name, segment, num_samples=num_samples(name, segment)) for name, segment in work[at:][:per_file]
        ]
        dataset.publish_features(pa.concat_tables(rows), info or dataset_info(), token=token)
    publish_listed(dataset, Ids([ids_of(*NAMES)]), shard=WHOLE, token=token)
    derive(dataset, shard=WHOLE, token=token)
    return dataset


def expected(name: str) -> Any:
    return np.concatenate([features_of(name, at, num_samples(name, at)) for at in range(NUM_SEGMENTS)])


def read(folder: Path, **how: Any) -> dict[str, VideoFeatures]:
    videos = list(LakeFeatures.at(str(folder)).read(**how))
    assert len({video.video_id for video in videos}) == len(videos)
    return {video.video_id: video for video in videos}


@pytest.mark.parametrize("group_bytes", [1, 200, 1 << 20])
def test_every_sample_is_read_once_in_the_order_of_its_video(tmp_path: Path, group_bytes: int) -> None:
    lake(tmp_path)
    videos = read(tmp_path, group_bytes=group_bytes)
    assert videos.keys() == {id_of(name) for name in NAMES}
    for name in NAMES:
        video = videos[id_of(name)]
        assert np.array_equal(video.features, expected(name))
        pts = [(s * 12 + at) * 1000 for s in range(NUM_SEGMENTS) for at in range(num_samples(name, s))]
        assert video.samples.pts.tolist() == pts
        assert video.samples.times_s.tolist() == [each / 1000 for each in pts]
        assert (video.uri, video.samples.end_s) == (f"/videos/{name}.mp4", 36.0)


def test_large_video_is_a_group_by_itself(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    for name, num in zip("abcde", (1, 2, 50, 1, 2), strict=True):
        dataset.publish_features(finished(name, num_samples=num), dataset_info(), token=token)
    groups = list(LakeFeatures.at(str(tmp_path)).groups(ids_of(*"abcde"), group_bytes=1000))
    names = {id_of(name): name for name in "abcde"}
    assert ["".join(names[each] for each in group.video_ids) for group in groups] == ["ab", "c", "de"]


def test_times_are_read_without_features(tmp_path: Path) -> None:
    lake(tmp_path)
    with_features, without = read(tmp_path), read(tmp_path, with_features=False)
    for video_id, video in without.items():
        assert video.features.shape == (len(video.samples), 0)
        assert video.samples.pts.tolist() == with_features[video_id].samples.pts.tolist()
        assert video.uri == with_features[video_id].uri


def test_order_is_that_of_the_files_and_stays(tmp_path: Path) -> None:
    dataset = lake(tmp_path)
    features = LakeFeatures(dataset.store.uri, (dataset,), (dataset_info(),))
    ids = features.ids.tolist()
    assert LakeFeatures.at(str(tmp_path)).ids.tolist() == ids
    assert [video.video_id.encode() for video in features.read(features.ids[::-1])] == ids[::-1]


def test_float16_comes_out_as_it_is_stored(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path, dtype="float16")
    dataset.publish_features(finished("a", num_samples=3), dataset_info(dtype="float16"), token=token)
    [video] = read(tmp_path).values()
    assert video.features.dtype == np.float32
    assert np.array_equal(video.features, features_of("a", 0, 3).astype(np.float16))


def test_features_alone_are_a_lake(tmp_path: Path) -> None:
    """Without configuration, plan and ``videos``: every video is current, and its end is not known.

    When a sample was captured its row says by itself.
    """
    lake(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "features", tmp_path / "bare" / "features")
    bare = LakeFeatures.at(str(tmp_path / "bare"))
    assert bare.backbones == LakeFeatures.at(str(tmp_path / "whole")).backbones
    assert bare.are_settled(bare.ids).all()
    videos = list(bare.read())
    assert {video.video_id for video in videos} == {id_of(name) for name in NAMES}
    assert all(video.samples.end_s is None for video in videos)
    recorded_s = moment_of(str(FACTS.creation_time))
    assert all(np.allclose(video.captured_s, recorded_s + video.samples.times_s) for video in videos)


def test_video_that_is_no_longer_current_is_left_out(tmp_path: Path) -> None:
    dataset = lake(tmp_path)
    digest = LakeFeatures.at(str(tmp_path)).digest
    token = take_over(tmp_path)
    publish_listed(dataset, Ids([ids_of("a", "c")]), shard=WHOLE, token=token)
    derive(dataset, shard=WHOLE, token=token)
    assert read(tmp_path).keys() == {id_of("a"), id_of("c")}
    assert LakeFeatures.at(str(tmp_path)).digest != digest


def test_segment_that_was_tried_again_counts_by_its_last_attempt(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    publish_plan(dataset, plan_table(planned("a", segments=2)), token=token)
    dataset.publish_features(finished("a", 0, num_samples=0, reason="crashed"), dataset_info(), token=token)
    dataset.publish_features(finished("a", 1, num_samples=2), dataset_info(), token=token)
    before = LakeFeatures.at(str(tmp_path))
    [state] = [state for group in before.groups() for state in group.states]
    dataset.publish_features(finished("a", 0, num_samples=3, attempts=2), dataset_info(), token=token)
    [video] = read(tmp_path).values()
    assert len(video.samples) == 5
    after = LakeFeatures.at(str(tmp_path))
    assert [s for group in after.groups() for s in group.states] != [state]
    assert after.digest != before.digest


def test_video_is_settled_once_all_of_its_plan_is(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    publish_plan(dataset, plan_table(planned("a", segments=2), planned("b", segments=1)), token=token)
    for name in ("a", "b"):
        dataset.publish_features(finished(name, 0), dataset_info(), token=token)
    assert LakeFeatures.at(str(tmp_path)).are_settled(ids_of("a", "b")).tolist() == [False, True]
    dataset.publish_features(finished("a", 1, num_samples=0, reason="crashed"), dataset_info(), token=token)
    assert LakeFeatures.at(str(tmp_path)).are_settled(ids_of("a", "b")).tolist() == [True, True]


def test_what_is_settled_is_told_however_it_lies_in_files(tmp_path: Path) -> None:
    old = lake(tmp_path / "old")
    new, token = Dataset.at(str(tmp_path / "new")), ""
    new.store.ensure_writable()
    token = new.backend.acquire(slot=WHOLE).token
    compact(old, new, token=token)
    before, after = (LakeFeatures.at(str(tmp_path / each)) for each in ("old", "new"))
    assert after.digest == before.digest
    order = np.sort(before.ids)
    pairs = zip(before.read(order), after.read(order), strict=True)
    assert all(np.array_equal(one.features, other.features) for one, other in pairs)


def test_models_of_a_folder_stand_side_by_side(tmp_path: Path) -> None:
    """In the order of the datasets' names, and only the samples and videos that all of them have."""
    lake(tmp_path / "b-model")
    shutil.copytree(tmp_path / "b-model", tmp_path / "a-model")
    shutil.copytree(tmp_path / "b-model", tmp_path / "_hidden")
    (tmp_path / "nothing").mkdir()
    third, token = new_dataset(tmp_path / "c-model")
    for name in ("a", "b"):
        rows = [finished(name, at, num_samples=min(2, num_samples(name, at))) for at in range(NUM_SEGMENTS)]
        third.publish_features(pa.concat_tables(rows), dataset_info(), token=token)
    features = LakeFeatures.at(str(tmp_path))
    assert [Path(each.store.uri).name for each in features.datasets] == ["a-model", "b-model", "c-model"]
    assert (features.dim, features.sample, len(features.backbones)) == (3 * DIM, "fps:1", 3)
    videos = {video.video_id: video for video in features.read()}
    assert videos.keys() == {id_of("a"), id_of("b")}
    for name in ("a", "b"):
        video = videos[id_of(name)]
        counts = [min(2, num_samples(name, at)) for at in range(NUM_SEGMENTS)]
        pts = [(at * 12 + k) * 1000 for at, count in enumerate(counts) for k in range(count)]
        assert video.samples.pts.tolist() == pts
        alone = np.concatenate([features_of(name, at, num_samples(name, at))[:2] for at in range(NUM_SEGMENTS)])
        assert np.array_equal(video.features[:, :DIM], alone)
        assert np.array_equal(video.features[:, DIM : 2 * DIM], alone)


def test_folder_whose_datasets_were_sampled_in_different_ways_is_refused(tmp_path: Path) -> None:
    for name, rule in (("a", "fps:1"), ("b", "all")):
        dataset, token = new_dataset(tmp_path / name)
        info = DatasetInfo(config=config(sample=rule), weights="random:0")
        (tmp_path / name / "_vidlake/config.json").unlink()
        dataset.create(info)
        dataset.publish_features(finished("a"), info, token=token)
    with pytest.raises(UsageError, match="fps:1 and all"):
        _ = LakeFeatures.at(str(tmp_path)).sample


def test_place_without_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset"):
        LakeFeatures.at(str(tmp_path))
    new_dataset(tmp_path / "lake")
    empty = LakeFeatures.at(str(tmp_path / "lake"))
    assert list(empty.read()) == []
    assert len(empty.ids) == len(empty.are_settled(empty.ids)) == 0


def test_damaged_rows_are_named(tmp_path: Path) -> None:
    lake(tmp_path, per_file=9)
    [path] = (tmp_path / "features").iterdir()
    data = bytearray(path.read_bytes())
    data[4:400] = b"\0" * 396
    path.write_bytes(data)
    with pytest.raises(ForeignFile, match=path.name):
        list(LakeFeatures.at(str(tmp_path)).read())


def test_video_larger_than_a_row_group_is_read_whole(tmp_path: Path) -> None:
    """Its segments cross the edges of row groups, and those of another video lie between."""
    dataset, token = new_dataset(tmp_path)
    rows = [finished(name, at, num_samples=700) for name, at in itertools.product("ab", range(3))]
    dataset.publish_features(pa.concat_tables(rows), dataset_info(), token=token)
    videos = read(tmp_path)
    for name in "ab":
        whole = np.concatenate([features_of(name, at, 700) for at in range(3)])
        samples = videos[id_of(name)].samples
        order = np.argsort(np.concatenate([np.arange(700) + at * 12 for at in range(3)]), kind="stable")
        assert (np.diff(samples.pts) >= 0).all()
        assert np.array_equal(np.sort(videos[id_of(name)].features, axis=0), np.sort(whole[order], axis=0))


def take_over(folder: Path) -> str:
    (folder / "_vidlake/leases/1-of-1.json").unlink()
    return Dataset.at(str(folder)).backend.acquire(slot=WHOLE).token
