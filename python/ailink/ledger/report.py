"""What was spent, by any dimension and time: one question, exact sums.

Whole days come from the ledger's sums per day (UTC), the ends of a range that begins or stops within a day
from the attempts themselves. A request with several tags counts in full with each of them, so amounts by
tag may add up to more than the total; the total is always that of the range.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from ailink.ledger.reader import HALF, PICO, Dialect, LedgerReader

DAY_US: Final = 86_400_000_000
SOURCES: Final = ("reported", "estimated", "unknown", "reconciled")
RECONCILED: Final = 3
# Days whose mean is what the rest of a period is expected to cost.
RECENT: Final = 7

Dimension = Literal[
    "organization", "team", "user", "project", "key", "model", "deployment", "customer", "tag", "day",
    "source" ]  # fmt: skip
# What is reconciled is so by these.
_PLACE: Final[tuple[Dimension, ...]] = ("day", "deployment")
COLUMNS: Final[Mapping[str, tuple[str, int]]] = {
    "organization": ("org_id", 2),
    "team": ("team_id", 6),
    "user": ("user_id", 7),
    "project": ("project_id", 8),
    "key": ("key_id", 1),
    "model": ("model_id", 3),
    "deployment": ("deployment_id", 4),
    "customer": ("customer_id", 9),
    "tag": ("tags_id", 10),
}
"""Dimension → the ledger's column and the kind of its names."""

_SUMS = f"""
    sum(requests), sum(errors), sum(input), sum(output), sum(cache_read), sum(cache_write),
    sum(usd), sum(pico / {HALF}), sum(pico % {HALF})
"""
_IDS = "key_id, org_id, team_id, user_id, project_id, customer_id, tags_id, model_id, deployment_id, source"
_DAYS = f"""
    SELECT day, {_IDS}, requests, errors, input, output, cache_read, cache_write, cost_usd AS usd, cost_pico
    AS pico FROM rollup WHERE day >= ? AND day < ?
"""
_EDGE = f"""
    SELECT CAST(at_us / {DAY_US} AS INTEGER) AS day, {_IDS}, 1 AS requests,
    CASE WHEN status >= 400 OR class != 0 THEN 1 ELSE 0 END AS errors,
    input, output, cache_read, cache_write, 0 AS usd, cost_pico AS pico
    FROM attempt WHERE attempt_id >= ? AND at_us >= ? AND at_us < ?
"""


_SETS: Final = {
    "sqlite": "SELECT d.id FROM dict d, json_each(d.text) j WHERE d.kind = 10 AND j.value = ?",
    "postgresql": "SELECT d.id FROM dict d, json_array_elements_text(d.text::json) j(value) "
    "WHERE d.kind = 10 AND j.value = ?",
}


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over attempts; exact."""

    requests: int = 0
    errors: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost_pico: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        names = self.__struct_fields__
        return Amounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Times in µs since 1970, `end_us` not included; `filters` by dimension, each a name."""

    start_us: int
    end_us: int
    group_by: tuple[Dimension, ...] = ()
    filters: Mapping[str, str] = {}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`names`: one per dimension of the question; None for what has none."""

    names: tuple[str | int | None, ...]
    amounts: Amounts


class Report(msgspec.Struct, frozen=True, kw_only=True):
    lines: list[Line]
    """Dearest first; by day, if days are asked for first."""
    total: Amounts


async def ask(reader: LedgerReader, question: Question) -> Report:
    """Raises `LedgerError`."""
    await reader.catch_up()
    source, params = await _source(reader, question)
    where, names = _filters(question.filters, reader.dialect)
    dimensions = question.group_by
    selected, joins = _selected(dimensions)
    group = f"GROUP BY {', '.join(str(at + 1) for at in range(len(dimensions)))}" if dimensions else ""
    sql = f"SELECT {', '.join([*selected, _SUMS])} FROM ({source}) AS s {joins} {where} {group}"
    rows = await reader.fetch(sql, [*params, *names], list[list[Any]])
    found: dict[tuple[str | int | None, ...], Amounts] = {}
    total = Amounts()
    for row in rows:
        amounts = _amounts(row[len(dimensions) :])
        total += amounts
        for name in _names(dimensions, row[: len(dimensions)], question.filters.get("tag")):
            found[name] = found.get(name, Amounts()) + amounts
    lines = [Line(names=name, amounts=amounts) for name, amounts in found.items() if amounts.requests]
    return Report(lines=_sorted(lines, dimensions) if dimensions else [], total=total)


def _sorted(lines: list[Line], dimensions: Sequence[Dimension]) -> list[Line]:
    if dimensions[:1] == ("day",):
        return sorted(lines, key=lambda line: (line.names[0], -line.amounts.cost_pico))
    return sorted(lines, key=lambda line: (-line.amounts.cost_pico, str(line.names)))


async def ask_reconciled(
    reader: LedgerReader, question: Question, agreed: Collection[tuple[int, str]]
) -> Report:
    """The same, where attempts of these days and deployments count as reconciled. Raises `LedgerError`."""
    wanted = question.group_by
    if "source" not in wanted or not agreed:
        return await ask(reader, question)
    beside = tuple(one for one in _PLACE if one not in wanted)
    finer = await ask(reader, msgspec.structs.replace(question, group_by=(*wanted, *beside)))
    found: dict[tuple[str | int | None, ...], Amounts] = {}
    for line in finer.lines:
        named = dict(zip((*wanted, *beside), line.names, strict=True))
        if (named["day"], named["deployment"]) in agreed:
            named["source"] = SOURCES[RECONCILED]
        name = tuple(named[one] for one in wanted)
        found[name] = found.get(name, Amounts()) + line.amounts
    lines = [Line(names=name, amounts=amounts) for name, amounts in found.items()]
    return Report(lines=_sorted(lines, wanted), total=finer.total)


async def forecast(reader: LedgerReader, question: Question, now_us: int) -> int:
    """What the range will have cost at its end: what it has cost, and for the time that is left the mean of
    the last seven days, today's part counted in (of those since its beginning, if it is younger). Pico-USD.

    Days are asked for whole, so that only sums are read: nothing was spent yet in what is left of today.
    """
    spent = (await ask(reader, msgspec.structs.replace(question, group_by=()))).total.cost_pico
    today = now_us - now_us % DAY_US
    begin = max(question.start_us, today - (RECENT - 1) * DAY_US)
    left, seen = question.end_us - now_us, now_us - begin
    if left <= 0 or seen <= 0:
        return spent
    lately = msgspec.structs.replace(question, group_by=(), start_us=begin, end_us=today + DAY_US)
    recent = (await ask(reader, lately)).total.cost_pico
    return spent + recent * left // seen


async def _source(reader: LedgerReader, question: Question) -> tuple[str, list[int]]:
    """The rows of the range: whole days, and what is before and behind them."""
    start, end = question.start_us, max(question.end_us, question.start_us)
    first, last = -(-start // DAY_US), end // DAY_US
    edges = [(start, end)] if first > last else [(start, first * DAY_US), (last * DAY_US, end)]
    parts, params = [_DAYS], [first, max(first, last)]
    for low, high in edges:
        if low < high:
            parts.append(_EDGE)
            params += [await reader.near(low), low, high]
    return " UNION ALL ".join(parts), params


def _filters(filters: Mapping[str, str], dialect: Dialect) -> tuple[str, list[str | int]]:
    terms, params = [], list[str | int]()
    for dimension, name in filters.items():
        column, kind = COLUMNS[dimension]
        if dimension == "tag":
            terms.append(f"s.tags_id IN ({_SETS[dialect]})")
            params.append(name)
        elif name == "":
            terms.append(
                f"(s.{column} = 0 OR s.{column} IN (SELECT id FROM dict WHERE kind = ? AND text = ''))"
            )
            params.append(kind)
        else:
            terms.append(f"s.{column} IN (SELECT id FROM dict WHERE kind = ? AND text = ?)")
            params += [kind, name]
    return (f"WHERE {' AND '.join(terms)}" if terms else ""), params


def _selected(dimensions: Sequence[Dimension]) -> tuple[list[str], str]:
    selected, joins = [], []
    for at, dimension in enumerate(dimensions):
        if dimension in {"day", "source"}:
            selected.append(f"s.{dimension}")
            continue
        selected.append(f"d{at}.text")
        joins.append(f"LEFT JOIN dict d{at} ON d{at}.id = s.{COLUMNS[dimension][0]}")
    return selected, " ".join(joins)


def _amounts(sums: Sequence[int | None]) -> Amounts:
    requests, errors, input_, output, read, write, usd, high, low = (value or 0 for value in sums)
    return Amounts(
        requests=requests,
        errors=errors,
        input=input_,
        output=output,
        cache_read=read,
        cache_write=write,
        cost_pico=usd * PICO + high * HALF + low,
    )


def _names(
    dimensions: Sequence[Dimension], values: Sequence[Any], tag: str | None
) -> list[tuple[str | int | None, ...]]:
    """The lines that a row counts in: several where it has several tags and is asked by tag."""
    found: list[tuple[str | int | None, ...]] = [()]
    for dimension, value in zip(dimensions, values, strict=True):
        each: list[str | int | None] = [value or None]
        if dimension == "day":
            each = [value]
        elif dimension == "source":
            each = [SOURCES[value]]
        elif dimension == "tag" and value:
            each = [one for one in msgspec.json.decode(value, type=list[str]) if tag in (None, one)]
        found = [(*name, one) for name in found for one in each]
    return found
