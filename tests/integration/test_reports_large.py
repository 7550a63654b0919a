"""Spend by team for one model, this month, over millions of attempts in PostgreSQL: exact, and from sums."""

import pytest
from benches.reports import measure
from tests.harness.size import sized


@pytest.mark.slow
def test_a_report_over_many_attempts_is_exact() -> None:
    found = measure(sized(default=40_000, full=1_000_000), rounds=1)
    assert found.exact
