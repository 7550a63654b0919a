"""Spend by team, user, organization, key, model and day: the ledger's sums, by whose it was when it was
spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta

import msgspec

from ailink.admin.call import MASTER_ID
from ailink.admin.durations import instant
from ailink.admin.errors import ApiError, bad_request
from ailink.admin.services import Services
from ailink.identity.actor import Actor
from ailink.ledger import rollup
from ailink.ledger.reader import LedgerError
from ailink.ledger.rollup import Cell, Sums
from ailink.store.keys import KeyRecord

DEFAULT_DAYS = 30
MOST_DAYS = 400


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """A cell of the roll-up and the key it belongs to; None: the master key, or one that is unknown."""

    cell: Cell
    key: KeyRecord | None

    @property
    def team(self) -> str | None:
        return self.cell.team

    @property
    def user(self) -> str | None:
        return self.cell.user

    @property
    def org(self) -> str | None:
        return self.cell.org

    @property
    def token(self) -> str:
        return self.cell.key_id if self.key is None else self.key.digest


def days(services: Services, start: str | None, end: str | None) -> tuple[date, date]:
    """The days that are asked for; without any the last 30. Raises `ApiError` (400)."""
    today = instant(services.changes.now_us()).date()
    last = _day(end, "end_date") or today
    first = _day(start, "start_date") or last - timedelta(days=DEFAULT_DAYS)
    if first > last:
        raise bad_request("`start_date` is after `end_date`", param="start_date")
    if (last - first).days > MOST_DAYS:
        raise bad_request(f"`start_date`: at most {MOST_DAYS} days at once", param="start_date")
    return first, last


def _day(text: str | None, param: str) -> date | None:
    if text is None or not text:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError as error:
        raise bad_request(f"`{param}`: expected a day such as 2026-01-31", param=param) from error


async def spent(
    services: Services, actor: Actor, first: date, last: date, *, more: bool = False
) -> list[Spent]:
    """What the caller may see of these days; `more`: by customer and tags too. Raises `ApiError` (503)."""
    try:
        found = await rollup.cells(services.ledger.source, first, last, more=more)
    except LedgerError as error:
        raise ApiError(503, str(error), type="api_error", code="ledger_unavailable") from error
    records = await services.keys.records(cell.key_id for cell in found if cell.key_id not in ("", MASTER_ID))
    joined = [Spent(cell=cell, key=records.get(cell.key_id)) for cell in found]
    return [row for row in joined if may_see(actor, row)]


def may_see(actor: Actor, row: Spent) -> bool:
    own = row.key is not None and row.key.id == actor.key_id
    return own or actor.may("spend.read", org=row.org, team=row.team, user=row.user)


def by(rows: Iterable[Spent], group: Callable[[Spent], str | None]) -> dict[str, Sums]:
    """Sums per group, the largest spender first; rows without a group are left out."""

    def each(row: Spent) -> tuple[str, ...]:
        name = group(row)
        return () if name is None else (name,)

    return by_each(rows, each)


def by_each(rows: Iterable[Spent], groups: Callable[[Spent], Iterable[str]]) -> dict[str, Sums]:
    """The same where a row may be of several groups: it counts in full in each."""
    found: dict[str, Sums] = {}
    for row in rows:
        for name in groups(row):
            found[name] = found.get(name, Sums()).plus(row.cell.sums)
    return dict(sorted(found.items(), key=lambda pair: (-pair[1].cost_pico, pair[0])))


def by_day(rows: Iterable[Spent], first: date, last: date) -> dict[date, list[Spent]]:
    """Rows of each day, days without any included."""
    found: dict[date, list[Spent]] = {
        first + timedelta(days=number): [] for number in range((last - first).days + 1)
    }
    for row in rows:
        found[row.cell.day].append(row)
    return found


def total(rows: Iterable[Spent]) -> Sums:
    return rollup.total(row.cell for row in rows)


def providers(services: Services) -> Mapping[str, str]:
    """Deployment → provider, of the deployments in force."""
    return {
        deployment.id: deployment.provider
        for model in services.config.models()
        for deployment in model.deployments
    }
