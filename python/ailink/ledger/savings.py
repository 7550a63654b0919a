"""What an exact cache would have saved over past traffic: the rows of the ledger, asked again one by one.

Each row knows a number of its question (63 bits of the cache key without a tenant), so a scope and a time
can be chosen afterwards. What would have been given from a cache is found as the cache finds it: an answer is
there from its end until `ttl` later, hits do not prolong it, and who asks while an equal request is under way
waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from ailink.ledger.reader import LedgerReader

Scope = Literal["key", "user", "team", "organization", "shared"]
SCOPES: Final[tuple[Scope, ...]] = ("key", "user", "team", "organization", "shared")
MOST: Final = 300_000
"""Requests that were asked more than once and can be looked at in one report."""
TIMEOUT_MS: Final = 30_000

_RANGE = "attempt_id >= ? AND at_us >= ? AND at_us < ? AND question <> 0"
_TOTAL: Final = f"""
    SELECT count(*), count(DISTINCT request_id), sum(cost_pico / 1000000), sum(cost_pico % 1000000)
    FROM attempt WHERE {_RANGE}
"""
# An answer is kept when it came whole: 2xx, and nothing went wrong on the way.
_KEPT = "CASE WHEN status >= 200 AND status < 300 AND class = 0 THEN at_us + duration_us END"
_ASKED: Final = f"""
    SELECT question, min(key_id), min(user_id), min(team_id), min(org_id), min(model_id), min(operation),
        sum(input + cache_read + cache_write + audio_input), sum(output + audio_output), sum(cost_pico),
        min(at_us), max(at_us + duration_us), max({_KEPT})
    FROM attempt WHERE {_RANGE} AND question / 2 IN
        (SELECT question / 2 FROM attempt WHERE {_RANGE} GROUP BY 1 HAVING count(*) > 1)
    GROUP BY request_id, question ORDER BY 11, request_id LIMIT ?
"""
_NAMES: Final = "SELECT id, text FROM dict WHERE id IN ({})"


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """One request of the past with all its attempts at one model. Names by number, 0 for none; µs, pico-USD.

    `question`: equal for equal requests but for its lowest bit, which says that a fresh answer was asked for.
    `kept_us`: when an answer came that a cache keeps.
    """

    question: int
    key: int
    user: int
    team: int
    organization: int
    model: int
    operation: int
    input: int
    output: int
    cost_pico: int
    began_us: int
    ended_us: int
    kept_us: int | None


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """Of so many requests, what a cache would have answered and what those cost. `micros`: of waiting."""

    requests: int = 0
    hits: int = 0
    cost_pico: int = 0
    input: int = 0
    output: int = 0
    micros: int = 0

    def __add__(self, other: Saved) -> Saved:
        return Saved(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked in a range. `asked`: what was asked more than once; `attempts`, `requests`, `cost_pico`:
    of everything that could be cached.
    """

    attempts: int
    requests: int
    cost_pico: int
    asked: list[Asked]
    names: dict[int, str]
    complete: bool


class _Line:
    """Equal requests of one tenant: the answer that is there, those that are under way."""

    __slots__ = ("coming", "flight", "kept_us")

    def __init__(self) -> None:
        self.kept_us: int | None = None
        self.coming: list[int] = []
        self.flight: tuple[int, bool] | None = None

    def at(self, now_us: int) -> None:
        """What has come until now takes the place of what was there."""
        come = [kept_us for kept_us in self.coming if kept_us <= now_us]
        if come:
            self.kept_us = max(come)
            self.coming = [kept_us for kept_us in self.coming if kept_us > now_us]
        if self.flight is not None and self.flight[0] <= now_us:
            self.flight = None


def saved_of(asked: Asked, lines: dict[tuple[int, int], _Line], tenant: int, ttl_us: int) -> int | None:
    """Microseconds of waiting that a cache would have spared this request; None: it would have been asked all
    the same. Requests come in the order of their beginnings.
    """
    line = lines.setdefault((tenant, asked.question >> 1), _Line())
    now_us, fresh = asked.began_us, bool(asked.question & 1)
    line.at(now_us)
    took = asked.ended_us - now_us
    if not fresh and line.kept_us is not None and now_us < line.kept_us + ttl_us:
        return took
    if not fresh and line.flight is not None and line.flight[1]:
        return max(0, took - (line.flight[0] - now_us))
    if asked.kept_us is not None:
        line.coming.append(asked.kept_us)
    if not fresh and line.flight is None:
        line.flight = (asked.ended_us if asked.kept_us is None else asked.kept_us, asked.kept_us is not None)
    return None


def tenant_of(asked: Asked, scope: Scope, nameless: frozenset[int]) -> int:
    """Whose answers it may be given: numbers of names are unique over all kinds. A key without a user, team
    or organization shares with nobody.
    """
    if scope == "shared":
        return 0
    owner = {"key": 0, "user": asked.user, "team": asked.team, "organization": asked.organization}[scope]
    return owner if owner and owner not in nameless else asked.key


def simulate(
    past: Past, scope: Scope, ttl_us: int, by: Callable[[Asked], str] = lambda asked: ""
) -> dict[str, Saved]:
    """What would have been saved, by the name that `by` gives each request."""
    lines: dict[tuple[int, int], _Line] = {}
    nameless = frozenset(number for number, name in past.names.items() if name == "")
    sums: dict[str, list[int]] = {}
    for asked in past.asked:
        spared = saved_of(asked, lines, tenant_of(asked, scope, nameless), ttl_us)
        line = sums.setdefault(by(asked), [0] * 6)
        line[0] += 1
        if spared is not None:
            for place, amount in enumerate((1, asked.cost_pico, asked.input, asked.output, spared), 1):
                line[place] += amount
    return {
        name: Saved(requests=of, hits=hits, cost_pico=cost, input=into, output=out, micros=micros)
        for name, (of, hits, cost, into, out, micros) in sums.items()
    }


def total(found: Iterable[Saved]) -> Saved:
    """The sum of all."""
    return sum(found, Saved())


async def read(reader: LedgerReader, start_us: int, end_us: int) -> Past:
    """What was asked in the range, `end_us` not included. Raises `LedgerError`."""
    await reader.catch_up()
    span = [await reader.near(start_us), start_us, end_us]
    [[attempts, requests, millions, rest]] = await reader.fetch(
        _TOTAL, span, list[tuple[int, int, int | None, int | None]], TIMEOUT_MS
    )
    asked = await reader.fetch(_ASKED, [*span, *span, MOST + 1], list[Asked], TIMEOUT_MS)
    numbers = sorted(
        {number for one in asked for number in (one.key, one.user, one.team, one.organization, one.model)}
    )
    names: dict[int, str] = {}
    for first in range(0, len(numbers), 500):
        part = numbers[first : first + 500]
        marks = ", ".join("?" * len(part))
        names |= dict(await reader.fetch(_NAMES.format(marks), part, list[tuple[int, str]]))
    return Past(
        attempts=attempts,
        requests=requests,
        cost_pico=(millions or 0) * 1_000_000 + (rest or 0),
        asked=asked[:MOST],
        names=names,
        complete=len(asked) <= MOST,
    )


async def simulate_all(
    past: Past, choices: Sequence[tuple[Scope, int]], by: Callable[[Asked], str]
) -> tuple[dict[str, Saved], list[Saved]]:
    """The first choice by name, and the totals of all; in a thread, as it may take a second."""

    def run() -> tuple[dict[str, Saved], list[Saved]]:
        scope, ttl_us = choices[0]
        lines = simulate(past, scope, ttl_us, by)
        others = [total(simulate(past, scope, ttl_us).values()) for scope, ttl_us in choices[1:]]
        return lines, [total(lines.values()), *others]

    return await asyncio.to_thread(run)
