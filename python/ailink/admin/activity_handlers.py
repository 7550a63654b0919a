"""`/user/daily/activity` and its kin: per day sums with a breakdown, in LiteLLM's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin import reports
from ailink.admin.call import Call, Nothing
from ailink.admin.reports import Spent
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.ledger.money import Usd
from ailink.ledger.rollup import Sums


class ActivityQuery(Request, frozen=True, kw_only=True):
    """Days are `2026-01-31`, both included, UTC; ids are separated by commas."""

    start_date: str | None = None
    end_date: str | None = None
    model: str | None = None
    api_key: str | None = None
    user_id: str | None = None
    team_ids: str | None = None
    organization_ids: str | None = None
    exclude_team_ids: str | None = None
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=1_000)] = 50


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    spend: Usd
    prompt_tokens: int
    completion_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    total_tokens: int
    successful_requests: int
    failed_requests: int
    api_requests: int


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    metrics: Metrics
    metadata: dict[str, Any] = {}


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    models: dict[str, Broken]
    model_groups: dict[str, Broken]
    providers: dict[str, Broken]
    api_keys: dict[str, Broken]
    entities: dict[str, Broken]
    mcp_servers: dict[str, Broken] = {}
    endpoints: dict[str, Broken] = {}


class Day(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    metrics: Metrics
    breakdown: Breakdown


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    total_spend: Usd
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    total_api_requests: int
    total_successful_requests: int
    total_failed_requests: int
    total_cache_read_input_tokens: int
    total_cache_creation_input_tokens: int
    page: int
    total_pages: int
    has_more: bool


class ActivityView(msgspec.Struct, frozen=True, kw_only=True):
    results: list[Day]
    metadata: Totals


Entity = Callable[[Spent], str | None]


async def of_users(services: Services, call: Call[Nothing, ActivityQuery]) -> ActivityView:
    return await _activity(services, call, lambda row: row.user, call.query.user_id)


async def of_teams(services: Services, call: Call[Nothing, ActivityQuery]) -> ActivityView:
    return await _activity(services, call, lambda row: row.team, call.query.team_ids)


async def of_organizations(services: Services, call: Call[Nothing, ActivityQuery]) -> ActivityView:
    return await _activity(services, call, lambda row: row.org, call.query.organization_ids)


async def _activity(
    services: Services, call: Call[Nothing, ActivityQuery], entity: Entity, wanted: str | None
) -> ActivityView:
    query = call.query
    first, last = reports.days(services, query.start_date, query.end_date)
    rows = await reports.spent(services, call.caller.acting, first, last)
    rows = [row for row in rows if await _fits(services, row, query, entity, wanted)]
    providers = reports.providers(services)
    # Days on which nothing happened are left out, the newest first.
    by_day = {day: found for day, found in reports.by_day(rows, first, last).items() if found}
    shown = sorted(by_day, reverse=True)
    start = (query.page - 1) * query.page_size
    total_pages = max(-(-len(shown) // query.page_size), 1)
    results = [
        Day(
            date=day.isoformat(),
            metrics=_metrics(reports.total(by_day[day])),
            breakdown=_breakdown(by_day[day], entity, providers),
        )
        for day in shown[start : start + query.page_size]
    ]
    sums = reports.total(rows)
    metrics = _metrics(sums)
    totals = {
        f"total_{name}": getattr(metrics, name)
        for name in Metrics.__struct_fields__
        if name != "total_tokens"
    }
    return ActivityView(
        results=results,
        metadata=Totals(
            **totals,
            total_tokens=metrics.total_tokens,
            page=query.page,
            total_pages=total_pages,
            has_more=query.page < total_pages,
        ),
    )


async def _fits(
    services: Services, row: Spent, query: ActivityQuery, entity: Entity, wanted: str | None
) -> bool:
    name = entity(row)
    if wanted is not None and name not in wanted.split(","):
        return False
    if query.exclude_team_ids is not None and row.team in query.exclude_team_ids.split(","):
        return False
    if query.model is not None and row.cell.model != query.model:
        return False
    return query.api_key is None or query.api_key == row.token


def _breakdown(rows: Sequence[Spent], entity: Entity, providers: Any) -> Breakdown:
    def broken(group: Callable[[Spent], str | None]) -> dict[str, Broken]:
        return {name: Broken(metrics=_metrics(sums)) for name, sums in reports.by(rows, group).items()}

    models = broken(lambda row: row.cell.model or None)
    return Breakdown(
        models=models,
        model_groups=models,
        providers=broken(lambda row: providers.get(row.cell.deployment)),
        api_keys=broken(lambda row: row.token or None),
        entities=broken(entity),
    )


def _metrics(sums: Sums) -> Metrics:
    return Metrics(
        spend=Usd(sums.cost_pico),
        prompt_tokens=sums.input,
        completion_tokens=sums.output,
        cache_read_input_tokens=sums.cache_read,
        cache_creation_input_tokens=sums.cache_write,
        total_tokens=sums.input + sums.output,
        successful_requests=sums.requests - sums.errors,
        failed_requests=sums.errors,
        api_requests=sums.requests,
    )
