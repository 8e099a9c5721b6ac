"""Training a head: a version appears whole, once, with its scores; the same again is done already."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_lakes import blob, make_lake, open_lake
from labelling import written
from rows import dataset_info, finished
from sklearn.metrics import balanced_accuracy_score, f1_score

from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.files import FILES
from pipeline.models.heads.registry import Heads
from pipeline.records.heads import HeadKind
from pipeline.records.periods import Period
from pipeline.records.units import Unit
from pipeline.training import head_place
from pipeline.training.evaluate import EvaluateRequest, evaluate
from pipeline.training.first_look import look_at_labels
from pipeline.training.listing import list_heads, use_version
from pipeline.training.request import FitOptions, LabelOptions, SplitOptions, TrainRequest
from pipeline.training.train import Trained, train

VIDEOS = {
    f"{label}{at}": blob("xy".index(label), 12, seed=30 * "xy".index(label) + at, spread=0.6)
    for at in range(10)
    for label in "xy"
}
ROWS: list[dict[str, object]] = [{"uri": f"{name}.mp4", "label": name[0]} for name in VIDEOS]
PARTS_GIVEN: list[dict[str, object]] = [
    {**row, "split": "train" if at < 12 else "validation" if at < 16 else "test"} for at, row in enumerate(ROWS)
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_lake(tmp_path_factory.mktemp("lake"), VIDEOS)


def request(lake: str, folder: Path, *, rows: list[dict[str, object]] = PARTS_GIVEN, **further: Any) -> TrainRequest:
    fit = {"kind": HeadKind(name="linear"), "unit": Unit.parse("frame"), "epochs": 5, **further.pop("fit", {})}
    labels = written(folder / "labels.csv", rows)
    return TrainRequest(
        lake=lake,
        out=str(folder / "heads" / "h"),
        labels=LabelOptions(file=labels, column="label", is_multi_label=further.pop("is_multi_label", False)),
        split=SplitOptions(seed=further.get("seed", 0)),
        fit=FitOptions(**fit, seed=further.pop("seed", 0)),
        period=Period(),
        **further,
    )


def silent(_: str) -> None:
    pass


def bytes_of(folder: Path, version: int) -> dict[str, bytes]:
    return {name: (folder / "heads" / "h" / str(version) / name).read_bytes() for name in FILES}


def test_a_version_is_whole_and_its_scores_are_those_of_its_predictions(lake: str, tmp_path: Path) -> None:
    trained = train(request(lake, tmp_path), say=silent)

    assert (trained.version, trained.is_new, trained.current) == (1, True, 1)
    head = Heads(backend_at(str(tmp_path / "heads")).store).load("h").head
    assert head.info.lake == lake
    test = {str(row["uri"])[:-4] for row in PARTS_GIVEN if row["split"] == "test"}
    read = {video.uri[8:-4]: video for video in LakeFeatures.at(lake).read()}
    said = np.concatenate([head.frames(read[name].features).argmax(axis=1) for name in sorted(test)])
    true = np.repeat(["xy".index(name[0]) for name in sorted(test)], 12)
    metrics = json.loads(bytes_of(tmp_path, 1)["metrics.json"])
    assert metrics["test"]["num_units"] == len(true) == 48
    assert metrics["test"]["accuracy"] == pytest.approx((said == true).mean())
    assert metrics["test"]["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, said))
    assert metrics["test"]["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
    assert np.array(metrics["test"]["confusion"]).sum() == len(true)
    assert metrics["baseline"]["test"]["balanced_accuracy"] == 0.5
    assert metrics["leakage"]["share"] == 0
    assert metrics["temperature"] == head.info.temperature
    assert metrics["validation"]["num_units"] == 48


def test_the_card_says_all_that_a_colleague_asks(lake: str, tmp_path: Path) -> None:
    train(request(lake, tmp_path), say=silent)

    card = bytes_of(tmp_path, 1)["README.md"].decode()

    for words in ("## Data", "## Split", "## Leakage", "## Scores", "## Calibration", "## Limits", "## How to use it"):
        assert words in card
    assert lake in card
    assert "| test | balanced accuracy |" in card


def test_the_same_command_again_is_done_already(lake: str, tmp_path: Path) -> None:
    said: list[str] = []
    first = train(request(lake, tmp_path), say=silent)

    second = train(request(lake, tmp_path), say=said.append)
    third = train(request(lake, tmp_path, again=True), say=silent)

    assert (second.version, second.is_new) == (first.version, False)
    assert len(said) == 1
    assert "nothing to do" in said[0]
    assert (third.version, third.is_new) == (2, True)
    once, twice = bytes_of(tmp_path, 1), bytes_of(tmp_path, 2)
    assert all(once[name] == twice[name] for name in ("head.json", "weights.safetensors", "metrics.json"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lake, folder: request(lake, folder, rows=ROWS), id="other-rows"),
        pytest.param(lambda lake, folder: request(lake, folder, seed=1), id="another-seed"),
        pytest.param(lambda lake, folder: request(lake, folder, fit={"epochs": 6}), id="other-words"),
    ],
)
def test_something_else_makes_a_new_version(
    lake: str, tmp_path: Path, change: Callable[[str, Path], TrainRequest]
) -> None:
    train(request(lake, tmp_path), say=silent)

    assert train(change(lake, tmp_path), say=silent).version == 2


def test_new_segments_make_a_new_version(tmp_path: Path) -> None:
    dataset, token = open_lake(tmp_path / "lake", VIDEOS)
    asked = request(dataset.store.uri, tmp_path)
    train(asked, say=silent)

    dataset.publish_features(finished("x0", 1, num_samples=3), dataset_info(), token=token)

    assert train(asked, say=silent).version == 2


def test_a_version_need_not_be_used_and_another_one_can_be(lake: str, tmp_path: Path) -> None:
    train(request(lake, tmp_path), say=silent)
    second = train(request(lake, tmp_path, seed=1, uses_it=False), say=silent)
    out = str(tmp_path / "heads" / "h")

    assert (second.version, second.current) == (2, 1)
    assert use_version(out, 2) == 1
    [listed] = list_heads(str(tmp_path / "heads"))
    assert (listed.name, listed.current, [each.is_current for each in listed.versions]) == ("h", 2, [False, True])
    assert listed.versions[0].labels == ("x", "y")
    assert list_heads(out)[0].versions == listed.versions
    with pytest.raises(UsageError, match="no version 7: it has 1, 2"):
        use_version(out, 7)


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["note", "folder", "current", "cleared"])
def test_killed_while_it_publishes_it_ends_with_one_version_in_use(
    lake: str, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(request(lake, tmp_path, seed=5), say=silent)
    asked = request(lake, tmp_path)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        place = head_place.HeadPlace
        if moment == "note":
            patch.setattr(place, "publish", die)
        elif moment == "folder":
            patch.setattr(type(backend_at(asked.out).store), "publish_folder", die)
        else:
            known = place.finish
            calls: list[int] = []

            def finish(self: head_place.HeadPlace) -> None:
                calls.append(1)
                if len(calls) == 2 and moment == "current":
                    raise Killed
                known(self)
                if len(calls) == 2:
                    raise Killed

            patch.setattr(place, "finish", finish)
        with pytest.raises(Killed):
            train(asked, say=silent)

    done = train(asked, say=silent)

    assert (done.version, done.current) == (2, 2)
    names = sorted(path.name for path in (tmp_path / "heads" / "h").iterdir())
    assert names == ["1", "2", "_vidlake", "current"]
    assert not list((tmp_path / "heads" / "h" / "_vidlake" / "checkpoints").glob("*"))


def test_heads_may_lie_in_an_object_store(lake: str, tmp_path: Path, bucket_place: str) -> None:
    first, second = (replace(request(lake, tmp_path, seed=seed), out=f"{bucket_place}/heads/h") for seed in (0, 1))
    train(first, say=silent)

    assert train(second, say=silent).current == 2
    assert not train(second, say=silent).is_new
    use_version(second.out, 1)
    [listed] = list_heads(f"{bucket_place}/heads")
    assert (listed.current, len(listed.versions)) == (1, 2)
    assert (
        scored(train(first, say=silent), lake, tmp_path, on="test", out=f"{bucket_place}/scores")[0]["num_units"] == 48
    )


def test_an_older_version_that_was_chosen_stays_in_use(lake: str, tmp_path: Path) -> None:
    train(request(lake, tmp_path), say=silent)
    second = request(lake, tmp_path, seed=1)
    train(second, say=silent)
    use_version(second.out, 1)

    said: list[str] = []
    assert train(second, say=said.append).current == 1
    assert said[-1].endswith(f"vidlake heads {second.out} --use 2")


def test_a_dry_run_leaves_nothing_behind(lake: str, tmp_path: Path) -> None:
    said: list[str] = []

    report = look_at_labels(request(lake, tmp_path), say=said.append)

    assert report.to_json()["labels"] == {
        "rows": 20,
        "matched": 20,
        "unmatched": 0,
        "first_unmatched": "",
        "videos_without_samples": 0,
    }
    assert not (tmp_path / "heads").exists()
    assert any("72 in 6 videos" in line for line in said)


@pytest.mark.parametrize(
    ("out", "complaint"),
    [("heads/.hidden", "is no head"), ("heads/a b", "is no head"), ("heads/h@2", "gets its number by itself")],
)
def test_what_is_no_name_of_a_head_is_refused(lake: str, tmp_path: Path, out: str, complaint: str) -> None:
    asked = replace(request(lake, tmp_path), out=str(tmp_path / out))

    with pytest.raises(UsageError, match=complaint):
        train(asked, say=silent)


def scored(
    trained: Trained,
    lake: str,
    tmp_path: Path,
    *,
    on: Any,
    rows: list[dict[str, object]] = PARTS_GIVEN,
    out: str | None = None,
) -> Any:
    asked = EvaluateRequest(
        head=f"{trained.uri}@{trained.version}",
        lake=lake,
        labels_file=written(tmp_path / "again.csv", rows),
        label_column="label",
        on=on,
        out=out,
    )
    said: list[str] = []
    return evaluate(asked, say=said.append).to_json(), said


@pytest.mark.parametrize("rows", [pytest.param(PARTS_GIVEN, id="column-split"), pytest.param(ROWS, id="drawn")])
def test_evaluate_finds_the_parts_and_scores_of_the_training(
    lake: str, tmp_path: Path, rows: list[dict[str, object]]
) -> None:
    trained = train(request(lake, tmp_path, rows=rows, seed=3), say=silent)

    for part in ("test", "validation"):
        found, said = scored(trained, lake, tmp_path, on=part, rows=rows)
        known: Any = trained.metrics[part]
        assert {name: found[name] for name in known} == known
        assert not said
    assert scored(trained, lake, tmp_path, on="all", rows=rows)[0]["num_units"] == 240


def test_evaluate_writes_its_scores_and_warns_of_another_split(lake: str, tmp_path: Path) -> None:
    trained = train(request(lake, tmp_path, rows=ROWS), say=silent)

    found, said = scored(trained, lake, tmp_path, on="test", rows=ROWS[:-2], out=str(tmp_path / "scores"))

    assert "the head may have been trained on these units" in said[0]
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text()) == found
    assert (tmp_path / "scores" / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_evaluate_refuses_labels_that_the_head_does_not_know(lake: str, tmp_path: Path) -> None:
    trained = train(request(lake, tmp_path), say=silent)

    with pytest.raises(UsageError, match="the head knows no zebra; its labels are x, y"):
        scored(trained, lake, tmp_path, on="all", rows=[{"uri": "x0.mp4", "label": "zebra"}])


def test_a_unit_may_have_several_labels(lake: str, tmp_path: Path) -> None:
    rows = [*PARTS_GIVEN, *({**row, "label": "all"} for row in PARTS_GIVEN if str(row["uri"])[0] == "x")]

    trained = train(
        request(lake, tmp_path, rows=rows, is_multi_label=True, fit={"epochs": 20, "learning_rate": 0.1}), say=silent
    )

    test: Any = trained.metrics["test"]
    assert test["num_units"] == 48
    assert [sum(row) for row in test["confusion"]] == [48] * 3
    assert test["macro_f1"] > 0.9
    assert scored(trained, lake, tmp_path, on="test", rows=rows)[0]["confusion"] == test["confusion"]


def test_without_a_validation_part_there_is_no_temperature(lake: str, tmp_path: Path) -> None:
    rows = [{**row, "split": "train" if row["split"] != "test" else "test"} for row in PARTS_GIVEN]
    said: list[str] = []

    trained = train(request(lake, tmp_path, rows=rows), say=said.append)

    assert trained.metrics["temperature"] is None
    assert trained.metrics["validation"] is None
    assert "there is no validation part: no early stopping, and no temperature" in said
