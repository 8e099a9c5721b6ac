"""Settings as a user writes them, and what is said where they do not fit."""

import dataclasses
import json
from typing import Any

import pytest
from rows import config, id_of

from pipeline.errors import UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.records.resources import parse_duration, parse_size
from pipeline.records.shards import Shard


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1073741824", 2**30),
        ("500MB", 500 * 10**6),
        ("2GiB", 2 * 2**30),
        ("1.5 g", 1_500_000_000),
        ("64kib", 65_536),
        (" 3 TiB ", 3 * 2**40),
        ("7b", 7),
    ],
)
def test_size_is_read(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0.4", "-1", "2 GiBs", "GiB", "1e9", "ib", "٣", "inf", "9999999999TiB"])
def test_bad_size_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match=r"bad size .*: use a number of bytes, or one with KB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("0.5 s", 0.5), ("5m", 300), ("24h", 86_400), (" 1.5 D ", 129_600), ("7d", 604_800)],
)
def test_span_of_time_is_read(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "h", "24 hours", "1e9", "inf", "nan", "٣h", "40000d"])
def test_bad_span_of_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match=r"bad span of time .*: use a number with s, m, h or d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "1 /2"])
def test_bad_shard_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match=r"bad shard .*: use I/N with 1 <= I <= N"):
        Shard.parse(text)


def test_shards_are_disjoint_and_together_everything() -> None:
    shards = [Shard.parse(f"{index}/3") for index in (1, 2, 3)]
    holders = [[shard.index for shard in shards if shard.holds(id_of(str(at)))] for at in range(300)]
    assert {len(each) for each in holders} == {1}
    assert min(sum(each == [index] for each in holders) for index in (1, 2, 3)) > 50


def test_configuration_survives_its_document() -> None:
    document = json.loads(json.dumps({**config().to_json(), "later": "addition"}))
    back = DatasetConfig.from_json(document)
    assert back == config()
    assert back.fingerprint == config().fingerprint
    assert back.difference(config()) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample": "fps:2"}, "--sample is fps:1, not fps:2"),
        ({"precision": "fp16"}, "--precision is fp32, not fp16"),
        ({"dtype": "float16"}, "--dtype is float32, not float16"),
        ({"name": "huge", "dim": 9, "weights_digest": "sha256:11"}, "--model is tiny, not huge"),
        ({"weights_digest": "sha256:11"}, "the digest of --weights is sha256:00, not sha256:11"),
        ({"dim": 9}, "the length of a feature is 4, not 9"),
        ({"resize_px": 8}, "the preprocessing's resize_px is 4, not 8"),
    ],
)
def test_difference_names_what_a_user_can_change(change: dict[str, Any], message: str) -> None:
    one = config()
    model, preprocessing = one.model, one.model.preprocessing
    for name, value in change.items():
        if name in {field.name for field in dataclasses.fields(preprocessing)}:
            preprocessing = dataclasses.replace(preprocessing, **{name: value})
        elif name in {field.name for field in dataclasses.fields(model)}:
            model = dataclasses.replace(model, **{name: value})
        else:
            one = dataclasses.replace(one, **{name: value})
    other = dataclasses.replace(one, model=dataclasses.replace(model, preprocessing=preprocessing))
    assert config().difference(other) == message
    # What was sampled and how it is stored make no other feature of a picture.
    assert (config().fingerprint == other.fingerprint) == (change.keys() <= {"sample", "dtype"})
