"""`/cache/savings`: what an exact cache would have saved over past traffic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant, microseconds
from ailink.admin.errors import ApiError, bad_request
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.config.units import Duration
from ailink.ledger import savings
from ailink.ledger.money import Usd
from ailink.ledger.reader import LedgerError
from ailink.ledger.savings import SCOPES, Asked, Past, Saved, Scope

DAY_US = 86_400_000_000
MOST_DAYS = 92
TTLS = (60, 300, 3_600, 86_400)
"""Times that are looked at besides the one that is asked for, in seconds."""


class SavingsQuery(Request, frozen=True, kw_only=True):
    """Times are ISO 8601, UTC without a zone, `end` not included; without them the last 24 hours. `ttl` and
    `scope`: those of the file.
    """

    start: str | None = None
    end: str | None = None
    ttl: Annotated[str, Meta(max_length=32, description="Such as `5m`, `1h30m`.")] | None = None
    scope: Scope | None = None
    by: Literal["model", "key", "team", "user", "organization", "endpoint"] = "model"


class SavingsLine(msgspec.Struct, frozen=True, kw_only=True):
    """`hits`: of the requests that were asked more than once; `hit_rate`: of all. `saved_usd`: what the hits
    cost when they were asked.
    """

    name: str
    hits: int
    hit_rate: float
    saved_usd: Usd
    saved_input_tokens: int
    saved_output_tokens: int
    saved_seconds: float


class SavingsView(msgspec.Struct, frozen=True, kw_only=True):
    """`requests` and `spent_usd`: of everything a cache could have looked at. `complete`: false when there
    was more than one report can hold; the latest is then missing.
    """

    measured: bool
    start: datetime
    end: datetime
    scope: Scope
    ttl: str
    requests: int
    spent_usd: Usd
    complete: bool
    total: SavingsLine
    lines: list[SavingsLine]
    by_scope: list[SavingsLine]
    by_ttl: list[SavingsLine]


async def report(services: Services, call: Call[Nothing, SavingsQuery]) -> SavingsView:
    """What a cache of this scope and time would have saved."""
    query, settings = call.query, services.config.file().cache
    start_us, end_us = _range(services, query)
    ttl = settings.ttl if query.ttl is None else _duration(query.ttl)
    scope = query.scope or settings.scope
    try:
        past = await savings.read(services.ledger, start_us, end_us)
    except LedgerError as error:
        raise ApiError(
            503, f"{error}: a shorter range may do", type="api_error", code="ledger_slow"
        ) from error
    choices = [(scope, int(ttl) * 1_000)]
    choices += [(other, int(ttl) * 1_000) for other in SCOPES]
    choices += [(scope, seconds * 1_000_000) for seconds in TTLS]
    lines, totals = await savings.simulate_all(past, choices, _name(services, past, query.by))
    shown = [_line(name, saved, saved.requests) for name, saved in lines.items() if saved.hits]
    scopes = zip(SCOPES, totals[1:], strict=False)
    times = zip(TTLS, totals[1 + len(SCOPES) :], strict=True)
    return SavingsView(
        measured=settings.measure,
        start=instant(start_us),
        end=instant(end_us),
        scope=scope,
        ttl=str(ttl),
        requests=past.requests,
        spent_usd=Usd(past.cost_pico),
        complete=past.complete,
        total=_line("", totals[0], past.requests),
        lines=sorted(shown, key=lambda line: (-line.saved_usd.value, -line.hits, line.name)),
        by_scope=[_line(name, saved, past.requests) for name, saved in scopes],
        by_ttl=[_line(str(Duration(seconds * 1_000)), saved, past.requests) for seconds, saved in times],
    )


def _line(name: str, saved: Saved, requests: int) -> SavingsLine:
    return SavingsLine(
        name=name,
        hits=saved.hits,
        hit_rate=saved.hits / requests if requests else 0.0,
        saved_usd=Usd(saved.cost_pico),
        saved_input_tokens=saved.input,
        saved_output_tokens=saved.output,
        saved_seconds=saved.micros / 1_000_000,
    )


def _name(services: Services, past: Past, by: str) -> Callable[[Asked], str]:
    if by == "endpoint":
        names = services.operations
        return lambda asked: names[asked.operation] if asked.operation < len(names) else ""
    return lambda asked: past.names.get(getattr(asked, by), "")


def _range(services: Services, query: SavingsQuery) -> tuple[int, int]:
    end_us = services.changes.now_us() if query.end is None else _moment(query.end, "end")
    start_us = end_us - DAY_US if query.start is None else _moment(query.start, "start")
    if start_us >= end_us:
        raise bad_request("`start` is not before `end`", param="start")
    if end_us - start_us > MOST_DAYS * DAY_US:
        raise bad_request(f"`start`: at most {MOST_DAYS} days at once", param="start")
    return start_us, end_us


def _moment(text: str, param: str) -> int:
    try:
        return microseconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        wanted = "expected a day (2026-11-30) or a time (2026-11-30T12:00:00Z)"
        raise bad_request(wanted, param=param) from error


def _duration(text: str) -> Duration:
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise bad_request(f"`ttl`: {error}", param="ttl") from error
    if not found:
        raise bad_request("`ttl`: must be more than 0", param="ttl")
    return found
