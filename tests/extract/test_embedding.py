"""Samples go from a decode task to the models in calls of some batches, while the task decodes on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import pyarrow as pa
import pytest

from pipeline.extract import embedding
from pipeline.extract.embedding import embedded


class LaterModels:
    """Models that are done with a call once it is waited for."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.numbers: list[int] = []
        self.waited_for = 0

    def begin(self, samples: pa.Table, *, number: int) -> Future[pa.Table]:
        self.calls.append(samples["segment"].to_pylist())
        self.numbers.append(number)
        models = self

        class Later(Future[pa.Table]):
            def result(self, timeout: float | None = None) -> pa.Table:
                models.waited_for += 1
                return samples.append_column("by", pa.array([number] * len(samples)))

        return Later()

    @property
    def under_way(self) -> int:
        return len(self.calls) - self.waited_for


def segments(counts: Sequence[int], *, num_bytes: int = 0, seen: list[int] | None = None) -> Iterator[pa.Table]:
    """Decoded segments of so many samples each; ``seen`` is told when each is decoded."""
    for index, count in enumerate(counts):
        if seen is not None:
            seen.append(index)
        yield pa.table({"segment": [index], "num_samples": [count], "pixels": [bytes(num_bytes)]})


def run(samples: Iterator[pa.Table], models: LaterModels, *, samples_per_call: int) -> list[int]:
    return [
        segment
        for table in embedded(samples, models=models, samples_per_call=samples_per_call)
        for segment in table["segment"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([3], [[0]], id="less-than-a-call"),
        pytest.param([10, 10], [[0], [1]], id="a-segment-a-call"),
        pytest.param([4, 4, 4, 4], [[0, 1, 2], [3]], id="whole-segments-and-a-rest"),
        pytest.param([0, 0, 25, 0], [[0, 1, 2], [3]], id="segments-without-samples-come-along"),
    ],
)
def test_a_call_is_of_whole_segments_and_no_more_of_them_than_it_takes(
    counts: list[int], expected: list[list[int]]
) -> None:
    models = LaterModels()
    assert run(segments(counts), models, samples_per_call=10) == list(range(len(counts)))
    assert models.calls == expected
    assert models.numbers == list(range(len(expected)))


def test_bytes_limit_a_call_too_but_not_a_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_CALL_BYTES", 1_000)
    models = LaterModels()
    run(segments([1, 1, 1, 1, 1], num_bytes=400), models, samples_per_call=100)
    assert models.calls == [[0, 1], [2, 3], [4]]
    models = LaterModels()
    run(segments([1, 1, 1], num_bytes=1_500), models, samples_per_call=100)
    assert models.calls == [[0], [1], [2]]


def test_decoding_goes_on_while_two_calls_are_under_way_and_then_waits() -> None:
    models, decoded = LaterModels(), list[int]()
    features = embedded(segments([1] * 6, seen=decoded), models=models, samples_per_call=1)
    first = next(features)
    assert first["segment"].to_pylist() == [0]
    assert decoded == [0, 1, 2], "the third was decoded while two calls were under way"
    assert models.under_way == 1, "and is not handed over before the first has been taken"
    most = 0
    for _ in features:
        most = max(most, models.under_way)
    assert most <= 2
    assert models.under_way == 0


def test_what_a_model_fails_with_is_what_the_task_fails_with() -> None:
    class Failing:
        def begin(self, samples: pa.Table, *, number: int) -> Future[pa.Table]:
            failed: Future[pa.Table] = Future()
            failed.set_exception(ValueError("no such weights"))
            return failed

    with pytest.raises(ValueError, match="no such weights"):
        list(embedded(segments([1, 1, 1]), models=Failing(), samples_per_call=1))
