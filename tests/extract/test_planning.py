"""What is new to one dataset of a run: taken over from another's plan where that cut it, and probed where not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rows import dataset_info, id_of, new_dataset, plan_table, planned, segment

from pipeline.extract import dataflow
from pipeline.extract.context import Place, RunContext, Target
from pipeline.extract.listing import listed_schema
from pipeline.extract.planning import Planner, by_lacking, cuts_of
from pipeline.extract.request import RunOptions
from pipeline.extract.tally import LocalTally
from pipeline.lake.planned import Planned, plan_schema, publish_plan
from pipeline.records.resources import Hardware
from pipeline.records.rows import table_of
from pipeline.records.schemas import PLAN
from pipeline.records.segments import Sizing

SCHEMA = plan_schema([])


def listed(*names: str) -> pa.Table:
    rows = [planned(name, reason="x") | {"locator": name, "is_signed": False, "reason": None} for name in names]
    return table_of(rows, listed_schema(SCHEMA))


def planned_in(folder: Path, *rows: dict[str, Any]) -> tuple[Planned, Place]:
    dataset, token = new_dataset(folder)
    publish_plan(dataset, plan_table(*rows) if rows else PLAN.empty_table(), token=token)
    return Planned(dataset), Place(dataset=dataset, token=token)


def everything(place: Place) -> pa.Table:
    return pa.concat_tables(part for _, part in Planned(place.dataset).parts())


def names_in(table: pa.Table) -> set[str]:
    return {row["uri"][8] for row in table.to_pylist()}


def test_videos_are_told_apart_by_the_plans_that_lack_them(tmp_path: Path) -> None:
    one, _ = planned_in(tmp_path / "one", planned("a"), planned("b"), planned("x"))
    other, _ = planned_in(tmp_path / "other", planned("b"), planned("c", reason="crashed"))
    found = {lacking: names_in(videos) for lacking, videos in by_lacking(listed(*"abcd"), [one, other])}
    assert found == {(1,): {"a"}, (0,): {"c"}, (0, 1): {"d"}}


def test_a_cut_is_taken_over_where_it_fits_and_a_failure_is_not(tmp_path: Path) -> None:
    large = planned("b", segments=[segment(0, num_samples=4), segment(1, num_samples=9)])
    one, _ = planned_in(tmp_path / "one", planned("a", camera="north"), large | {"camera": None})
    two, _ = planned_in(tmp_path / "two", planned("b"), planned("c", reason="crashed"))
    [first, second], left = cuts_of(listed(*"abcd"), [one, two], sizing=Sizing(max_samples=8))
    assert first.select(["video_id", "camera"]).to_pylist() == [{"video_id": id_of("a"), "camera": "north"}]
    assert names_in(second) == {"b"}
    assert names_in(left) == {"c", "d"}


def test_each_dataset_gets_what_it_lacks_and_new_videos_are_probed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is probed where is what would be started on the cluster."""
    known, first = planned_in(tmp_path / "a", planned("a", segments=3), planned("b", reason="crashed"))
    none, second = planned_in(tmp_path / "b")
    targets = [Target(dataset=place.dataset, token=place.token, info=dataset_info()) for place in (first, second)]
    hardware = Hardware(num_cpus=2, num_gpus=0, num_nodes=1)
    context = RunContext.of(*targets, options=RunOptions(), hardware=hardware, tally=LocalTally())
    probed: list[set[str]] = []
    told: list[tuple[set[str], list[str]]] = []

    def probe(blocks: list[pa.Table], *, schema: pa.Schema, **_: object) -> Iterator[pa.Table]:
        probed.append(set().union(*map(names_in, blocks)))
        for block in blocks:
            names = sorted(names_in(block))
            yield table_of([planned(name, segments=2) for name in names], schema)

    def tell(rows: pa.Table, places: Sequence[Place]) -> None:
        for place in places:
            assert names_in(rows) <= names_in(everything(place)), "it is published first"
        told.append((names_in(rows), [place.dataset.store.uri[-1] for place in places]))

    monkeypatch.setattr(dataflow, "probe", probe)
    absent = listed("d").set_column(
        listed_schema(SCHEMA).get_field_index("reason"), "reason", pa.array(["unreadable"], pa.string())
    )
    videos = pa.concat_tables([listed(*"abc"), absent])
    elsewhere = Planner(context, [known, none], then=tell, is_awaited=lambda: True).add(videos, SCHEMA)

    assert sorted(probed, key=min) == [{"b"}, {"c"}]
    plans = {place.dataset.store.uri[-1]: everything(place) for place in (first, second)}
    assert {place: names_in(plan) for place, plan in plans.items()} == {"a": set("abcd"), "b": set("abcd")}
    assert sorted(told, key=lambda each: min(each[0])) == [({"c"}, ["a", "b"]), ({"d"}, ["a", "b"])]
    assert [each for part in elsewhere.to_arrow() for each in part.to_pylist()] == sorted(map(id_of, "ab")), (
        "what else is to do is for both to look at"
    )
    cut = [plan.filter(pc.equal(plan["video_id"], id_of("a")))["segments"].to_pylist() for plan in plans.values()]
    assert cut[0] == cut[1]
    assert len(cut[0][0]) == 3
