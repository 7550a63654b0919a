"""Users of tags over days, weeks and months that end today."""

from datetime import date, timedelta
from typing import Any

import pytest
from tests.unit.admin.gateway import MASTER, START_US, Gateway

from ailink.admin import reports
from ailink.admin.call import Call
from ailink.admin.durations import instant
from ailink.admin.reports import Spent
from ailink.admin.tag_activity_handlers import TagsNamed, active
from ailink.ledger.rollup import Cell, Sums

TODAY = instant(START_US).date()


def row(days_ago: int, user: str | None, *tags: str) -> Spent:
    cell = Cell(
        day=TODAY - timedelta(days=days_ago),
        key_id="key_1",
        model="m",
        deployment="d",
        org=None,
        team=None,
        user=user,
        tags=tags,
        sums=Sums(requests=1),
    )
    return Spent(cell=cell, key=None)


@pytest.mark.parametrize(
    ("length", "name", "expected"),
    [
        (1, "", [("a", 2, "2026-09-21"), ("b", 1, "2026-09-21"), ("a", 1, "2026-09-15")]),
        (7, "Week", [("a", 3, "Week 1"), ("b", 1, "Week 1"), ("a", 1, "Week 2"), ("a", 1, "Week 7")]),
        (30, "Month", [("a", 4, "Month 1"), ("b", 1, "Month 1"), ("a", 1, "Month 2")]),
    ],
)
async def test_periods_end_today_and_their_edges_are_days(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
    name: str,
    expected: list[tuple[str, int, str]],
) -> None:
    rows = [
        row(0, "ann", "a", "b"),
        row(0, "ann", "a"),
        row(0, "bob", "a"),
        # Nobody's key, and no tag: neither counts.
        row(0, None, "a"),
        row(0, "cid"),
        row(6, "cid", "a"),
        row(7, "dan", "a"),
        row(48, "ann", "a"),
    ]

    async def spent(_: Any, __: Any, first: date, last: date, *, more: bool) -> list[Spent]:
        assert (last, more) == (TODAY, True)
        return [one for one in rows if first <= one.cell.day <= last]

    monkeypatch.setattr(reports, "spent", spent)
    call = Call(caller=MASTER, path={}, query=TagsNamed(), body=None)
    found = await active(length, name)(gateway.services, call)  # type: ignore[arg-type]
    assert [(one.tag, one.active_users, one.date) for one in found.results] == expected
