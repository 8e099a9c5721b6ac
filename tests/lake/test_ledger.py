"""The ledger of segments: the last attempt counts, and says whether it is to be repeated."""

import pyarrow as pa
import pytest
from rows import finished

from pipeline.lake.ledger import Ledger


def test_last_attempt_counts_with_all_its_values() -> None:
    rows = pa.concat_tables(
        [finished("a", attempts=2), finished("a", reason="crashed", num_samples=0), finished("b", attempts=1)]
    )
    ledger = Ledger.of([rows])
    assert len(ledger.keys) == 2
    assert ledger.is_ok.all()
    assert (ledger.failure == -1).all()


@pytest.mark.parametrize(
    ("reason", "num_samples", "expected"),
    [(None, 0, False), (None, 3, False), ("corrupt", 3, False), ("corrupt", 0, True), ("timeout", 0, True)],
)
def test_what_failed_and_kept_no_rows_is_repeated(reason: str | None, num_samples: int, expected: bool) -> None:
    row = finished("a", reason=reason, num_samples=num_samples)
    assert Ledger.of([row]).is_repeatable.tolist() == [expected]
