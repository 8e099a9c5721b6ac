"""A schema-driven fuzzer over ``/openapi.json``: whatever is sent, the server answers, and answers for itself."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from serving import Live, serving

from serve.settings import Limits

_ENOUGH, _PLENTY = 25, 500


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(limits=Limits(max_seconds=30, decoders=1)) as found:
        yield found


@pytest.fixture(scope="module")
def document(live: Live) -> Any:
    return schemathesis.openapi.from_url(f"{live.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


def answered(case: schemathesis.Case) -> None:
    answer = case.call(timeout=60)
    if answer.status_code != 503:
        case.validate_response(answer, checks=[not_a_server_error])
    else:
        assert "retry-after" in answer.headers
    assert b"Traceback" not in answer.content


def examples(count: int) -> Any:
    return settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
@schema.parametrize()
@examples(_ENOUGH)
def test_fuzzer_finds_no_server_error(case: schemathesis.Case) -> None:
    answered(case)


@pytest.mark.soak
@schema.parametrize()
@examples(_PLENTY)
def test_fuzzer_finds_no_server_error_in_many_tries(case: schemathesis.Case) -> None:
    answered(case)
