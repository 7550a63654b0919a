"""Attempts by pages: filtered, in an order, with their number over all pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from ailink.ledger.reader import ATTEMPTS, Attempt, LedgerReader
from ailink.ledger.report import COLUMNS, Dimension

Order = Literal[
    "startTime", "endTime", "spend", "total_tokens", "request_duration_ms", "ttft_ms", "model_group"
]  # fmt: skip
_ORDERS: Final[Mapping[Order, str]] = {
    "startTime": "a.at_us",
    "endTime": "a.at_us + a.duration_us",
    "spend": "a.cost_pico",
    "total_tokens": "a.input + a.output",
    "request_duration_ms": "a.duration_us",
    "ttft_ms": "a.ttft_us",
    "model_group": "coalesce(m.text, '')",
}
_NAMED: Final = "a.{} IN (SELECT id FROM dict WHERE kind = ? AND text IN ({}))"


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Times in µs since 1970, `end_us` not included; `names`: for a dimension any of these."""

    start_us: int
    end_us: int
    names: Mapping[Dimension, Collection[str]] = {}
    request_id: bytes | None = None
    status: int | None = None
    without_flags: int = 0
    failed: bool | None = None
    least_pico: int | None = None
    most_pico: int | None = None
    order: Order = "startTime"
    descending: bool = True


class Page(msgspec.Struct, frozen=True, kw_only=True):
    attempts: list[Attempt]
    total: int


async def search(reader: LedgerReader, wanted: Search, limit: int, offset: int) -> Page:
    """Attempts that are equal in the order come newest first. Raises `LedgerError`."""
    await reader.catch_up()
    where, params = await _terms(reader, wanted)
    (total,) = (
        await reader.fetch(f"SELECT count(*) FROM attempt a WHERE {where}", params, list[tuple[int]])
    )[0]
    direction = "DESC" if wanted.descending else "ASC"
    order = f"{_ORDERS[wanted.order]} {direction}, a.at_us {direction}, a.attempt_id {direction}"
    sql = f"{ATTEMPTS} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
    found = await reader.fetch(sql, [*params, limit, offset], list[Attempt])
    return Page(attempts=found, total=total)


async def latest(reader: LedgerReader, wanted: Search, limit: int) -> list[Attempt]:
    """Without the number of all; newest first. Raises `LedgerError`."""
    await reader.catch_up()
    where, params = await _terms(reader, wanted)
    sql = f"{ATTEMPTS} WHERE {where} ORDER BY a.at_us DESC, a.attempt_id DESC LIMIT ?"
    return await reader.fetch(sql, [*params, limit], list[Attempt])


async def _terms(reader: LedgerReader, wanted: Search) -> tuple[str, list[int | str | bytes]]:
    terms = ["a.attempt_id >= ?", "a.at_us >= ?", "a.at_us < ?"]
    params: list[int | str | bytes] = [await reader.near(wanted.start_us), wanted.start_us, wanted.end_us]
    for dimension, names in wanted.names.items():
        column, kind = COLUMNS[dimension]
        terms.append(_NAMED.format(column, ", ".join("?" * len(names)) or "NULL"))
        params += [kind, *names]
    for term, value in (
        ("a.request_id = ?", wanted.request_id),
        ("a.status = ?", wanted.status),
        ("(a.flags & ?) = 0", wanted.without_flags or None),
        ("a.cost_pico >= ?", wanted.least_pico),
        ("a.cost_pico <= ?", wanted.most_pico),
    ):
        if value is not None:
            terms.append(term)
            params.append(value)
    if wanted.failed is not None:
        terms.append("a.class <> 0" if wanted.failed else "a.class = 0")
    return " AND ".join(terms), params
