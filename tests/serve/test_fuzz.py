"""A schema-driven fuzzer over ``/openapi.json``: whatever is sent, the server answers, and answers for itself."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from patience import PATIENCE_S
from served_heads import put
from serving import Live, serving

from serve.settings import HeadSettings, Limits


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("heads")
    put(folder, "0")  # a name that the fuzzer comes upon
    put(folder, "window", unit="window:2")
    with serving(limits=Limits(max_seconds=30, decoders=1), heads=HeadSettings(folder=str(folder))) as running:
        yield running


@pytest.mark.parametrize(
    "num_examples",
    [
        pytest.param(25, marks=pytest.mark.slow, id="some"),
        pytest.param(500, marks=pytest.mark.soak, id="many"),
    ],
)
def test_fuzzer_finds_no_server_error(live: Live, num_examples: int) -> None:
    import schemathesis
    from schemathesis.checks import not_a_server_error

    document = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    operations: list[Any] = [cast(Any, operation).ok() for operation in document.get_all_operations()]
    assert len(operations) >= 17
    for operation in operations:

        @settings(max_examples=num_examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def answers(case: Any) -> None:
            answer = case.call(timeout=PATIENCE_S)
            if answer.status_code == 503:
                assert "retry-after" in answer.headers
            else:
                case.validate_response(answer, checks=[not_a_server_error])
            assert b"Traceback" not in answer.content

        answers()
