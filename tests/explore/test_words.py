"""By words: a classification layer and heads give what they give elsewhere, over copies and over Parquet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_lakes import make_lake
from numpy.typing import NDArray
from predictions import head_for, write_head
from rows import DIM

from pipeline.errors import UsageError
from pipeline.explore.class_layer import ClassLayer
from pipeline.explore.head_labels import head_labels_at
from pipeline.explore.labels import LabelScorer
from pipeline.explore.queries import LabelQuery, VectorQuery
from pipeline.explore.query_model import QueryModel
from pipeline.explore.searcher import Searcher
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.registry import load_model

LABELS = ("cat", "dog", "cow")


def features(seed: int, *, num: int = 30) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)


def layer() -> ClassLayer:
    rng = np.random.default_rng(7)
    return ClassLayer(rng.standard_normal((3, DIM)).astype(np.float32), np.array([0, 1, -1], np.float32), LABELS)


def scores(
    lake: str, scorer: LabelScorer, columns: tuple[int, ...], *, has_cache: bool = True
) -> dict[tuple[str, float], float]:
    searcher = Searcher.at(lake, has_cache=has_cache)
    searcher.unpack()
    found = searcher.search(LabelQuery(scorer=scorer, columns=columns), by_rows=True, top=1000)
    return {(row.uri, row.time_s): row.score for row in found.rows or ()}


@pytest.mark.parametrize("has_cache", [True, False], ids=["unpacked", "Parquet"])
@pytest.mark.parametrize("columns", [(1,), (0, 2)])
def test_a_class_has_its_softmax(tmp_path: Path, columns: tuple[int, ...], has_cache: bool) -> None:
    videos = {"a": features(1), "b": features(2)}
    lake = make_lake(tmp_path, videos)
    rng = np.random.default_rng(7)
    weights = torch.tensor(rng.standard_normal((3, DIM)).astype(np.float32))
    biases = torch.tensor([0.0, 1, -1])
    for _ in range(2):  # the second time by what the first one has kept
        found = scores(lake, layer(), columns, has_cache=has_cache)
        for name, rows in videos.items():
            expected = (torch.tensor(rows) @ weights.T + biases).softmax(1)[:, list(columns)].sum(1)
            own = [found[(f"/videos/{name}.mp4", float(at))] for at in range(len(rows))]
            assert own == pytest.approx(expected.tolist(), abs=1e-5)


def test_what_a_softmax_divides_by_is_kept_for_each_layer(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, {"a": features(1)})
    scores(lake, layer(), (0,))
    kept = sorted((tmp_path / "_vidlake" / "search").glob(f"*.{layer().name}.rows"))
    assert len(kept) == 1
    kept[0].write_bytes(b"damaged")
    other = ClassLayer(np.ones((3, DIM), np.float32), np.zeros(3, np.float32), LABELS)
    assert list(scores(lake, other, (0,)).values()) == pytest.approx([1 / 3] * 30)
    assert list(scores(lake, layer(), (0, 1, 2)).values()) == pytest.approx([1.0] * 30)


def test_rows_that_are_not_finite_are_no_class(tmp_path: Path) -> None:
    odd = features(1, num=3)
    odd[1] = np.nan
    assert scores(make_lake(tmp_path, {"a": odd}), layer(), (0,))[("/videos/a.mp4", 1.0)] == 0


@pytest.mark.parametrize("has_cache", [True, False], ids=["unpacked", "Parquet"])
def test_a_head_of_frames_gives_each_row_its_probability(tmp_path: Path, has_cache: bool) -> None:
    lake = make_lake(tmp_path / "lake", {"a": features(1), "b": features(2)})
    head = write_head(tmp_path / "heads" / "h", head_for(lake))
    labels = head_labels_at(str(tmp_path / "heads" / "h"), lake=lake)
    assert labels.name == "h@1"
    found = scores(lake, labels, (1,), has_cache=has_cache)
    expected = head.frames(features(2))[:, 1]
    assert [found[("/videos/b.mp4", float(at))] for at in range(30)] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("unit", ["window:6", "video"])
def test_a_head_of_units_gives_each_row_that_of_its_unit(tmp_path: Path, unit: str) -> None:
    lake = make_lake(tmp_path / "lake", {"a": features(1), "b": features(2)})
    head = write_head(tmp_path / "heads" / "h", head_for(lake, unit=unit))
    labels = head_labels_at(str(tmp_path / "heads" / "h"), lake=lake)
    found = scores(lake, labels, (1,))
    for video in LakeFeatures.at(lake).read():
        answers = head.answer(video.features, video.samples)
        for begin, end, row in zip(answers.units.begin, answers.units.end, answers.probabilities, strict=True):
            own = [found[(video.uri, float(at))] for at in range(begin, end)]
            assert own == pytest.approx([row[1]] * len(own), abs=1e-5)
        curve = Searcher.at(lake).curve(LabelQuery(scorer=labels, columns=(1,)), video.video_id)
        assert curve.scores.tolist() == pytest.approx([found[(video.uri, at)] for at in curve.times_s], abs=1e-5)
    with pytest.raises(UsageError, match="leave out --no-cache"):
        scores(lake, labels, (1,), has_cache=False)


def test_a_head_of_other_features_is_refused(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", {"a": features(1)})
    write_head(tmp_path / "heads" / "h", head_for(lake))
    document = tmp_path / "heads" / "h" / "1" / "head.json"
    document.write_text(document.read_text().replace('"fp32"', '"fp16"'))
    with pytest.raises(UsageError):
        head_labels_at(str(tmp_path / "heads" / "h"), lake=lake)


TOWER = """
import torch

class Colours(torch.nn.Module):
    preprocessing = {"resize_px": 8, "crop_px": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]}

    def forward(self, pictures):
        return pictures.mean(dim=(2, 3))

    def embed_text(self, texts):
        known = {"red": [1.0, 0, 0], "blue": [0, 0, 1.0]}
        return torch.tensor([known.get(text, [1.0] * 4) for text in texts])
"""


def test_a_text_tower_is_asked_before_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "colours.py").write_text(TOWER)
    monkeypatch.syspath_prepend(str(tmp_path))
    made_by = load_model("colours:Colours", weights="random:0").info
    config = DatasetConfig(model=made_by, sample="fps:1", precision="fp32", dtype="float32")
    model = QueryModel(DatasetInfo(config=config, weights="random:0"))
    query = model.words("blue")
    assert isinstance(query, VectorQuery)
    assert query.vector.tolist() == [0, 0, 1]
    with pytest.raises(UsageError, match=r"embed_text gives \(1, 4\), not \(1, 3\)"):
        model.words("colourless")


def test_a_model_without_classes_or_text_tower_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greys.py").write_text(TOWER.replace("embed_text", "no_text").replace("Colours", "Greys"))
    monkeypatch.syspath_prepend(str(tmp_path))
    made_by = load_model("greys:Greys", weights="random:0").info
    config = DatasetConfig(model=made_by, sample="fps:1", precision="fp32", dtype="float32")
    with pytest.raises(UsageError, match="has no classes: give --head"):
        QueryModel(DatasetInfo(config=config, weights="random:0")).words("blue")
