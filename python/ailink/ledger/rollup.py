"""Sums of attempts by day, key and model, from the ledger's roll-up: exact at every commit.

Rows are grouped in the database by what the roll-up holds; whoever asks groups further (by team, by user) in
integers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import msgspec

from ailink.ledger.reader import HALF, PICO, TIMEOUT_MS, LedgerError, LedgerSource

EPOCH = date(1970, 1, 1).toordinal()


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Exact sums; money in pico-USD."""

    requests: int = 0
    errors: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost_pico: int = 0

    def plus(self, other: Sums) -> Sums:
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one key spent on one model at one deployment on one day, and for whom: as the ledger says, which
    remembers whose it was when it was spent.
    """

    day: date
    key_id: str
    org: str | None
    team: str | None
    user: str | None
    model: str
    deployment: str
    sums: Sums
    customer: str | None = None
    tags: Sequence[str] = ()


# Without customers and tags there are fewer rows, and most reports do without.
_NAMES = "k.text, o.text, t.text, u.text, m.text, d.text"
_MORE = f"{_NAMES}, c.text, g.text"
_MORE_JOINS = "LEFT JOIN dict c ON c.id = r.customer_id LEFT JOIN dict g ON g.id = r.tags_id"
_SELECT = f"""
    SELECT r.day, sum(r.requests), sum(r.errors), sum(r.input), sum(r.output), sum(r.cache_read),
        sum(r.cache_write), sum(r.cost_usd), sum(r.cost_pico / {HALF}), sum(r.cost_pico % {HALF}), {{names}}
    FROM rollup r
    LEFT JOIN dict k ON k.id = r.key_id
    LEFT JOIN dict o ON o.id = r.org_id
    LEFT JOIN dict t ON t.id = r.team_id
    LEFT JOIN dict u ON u.id = r.user_id
    LEFT JOIN dict m ON m.id = r.model_id
    LEFT JOIN dict d ON d.id = r.deployment_id
    {{joins}}
    WHERE r.day BETWEEN ? AND ?
    GROUP BY r.day, {{names}}
    ORDER BY r.day
"""


def number(day: date) -> int:
    """Days since 1970, as the roll-up counts them (UTC)."""
    return day.toordinal() - EPOCH


async def cells(source: LedgerSource, first: date, last: date, *, more: bool = False) -> list[Cell]:
    """All that was spent on these days, both included; with `more` by customer and tags as well. Raises
    `LedgerError`.
    """
    sql = _SELECT.format(names=_MORE if more else _NAMES, joins=_MORE_JOINS if more else "")
    packed = msgspec.msgpack.encode([number(first), number(last)])

    def ask() -> bytes:
        # Whoever asks has just spent: a ledger that is behind answers with what it has.
        with contextlib.suppress(RuntimeError):
            source.flush(1.0)
        return source.ledger_query(sql, packed, TIMEOUT_MS)

    try:
        answer = await asyncio.to_thread(ask)
    except (TimeoutError, RuntimeError) as error:
        raise LedgerError("the ledger cannot be read") from error
    return [_cell(row) for row in msgspec.msgpack.decode(answer, type=list[list[Any]])]


def _cell(row: Sequence[Any]) -> Cell:
    day, requests, errors, input_, output, read, write, usd, high, low, *names = row
    key, org, team, user, model, deployment, customer, tags = (*names, None, None)[:8]
    return Cell(
        day=date.fromordinal(EPOCH + day),
        key_id=key or "",
        org=org or None,
        team=team or None,
        user=user or None,
        model=model or "",
        deployment=deployment or "",
        customer=customer or None,
        tags=msgspec.json.decode(tags, type=list[str]) if tags else (),
        sums=Sums(
            requests=requests,
            errors=errors,
            input=input_,
            output=output,
            cache_read=read,
            cache_write=write,
            cost_pico=usd * PICO + high * HALF + low,
        ),
    )


def total(found: Iterable[Cell]) -> Sums:
    """The sum of all."""
    sums = Sums()
    for cell in found:
        sums = sums.plus(cell.sums)
    return sums
