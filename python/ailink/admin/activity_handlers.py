"""`/user/daily/activity` and its kin: per day sums with a breakdown, in LiteLLM's shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

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
    """Days are `2026-01-31`, both included, UTC; ids are separated by commas. Every filter holds at every
    route.
    """

    start_date: str | None = None
    end_date: str | None = None
    model: str | None = None
    api_key: str | None = None
    user_id: str | None = None
    team_ids: str | None = None
    organization_ids: str | None = None
    end_user_ids: str | None = None
    tags: str | None = None
    exclude_user_ids: str | None = None
    exclude_team_ids: str | None = None
    exclude_organization_ids: str | None = None
    exclude_end_user_ids: str | None = None
    exclude_tags: str | None = None


class ActivityPageQuery(ActivityQuery, frozen=True, kw_only=True):
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


Names = Callable[[Spent], Collection[str]]
Wanted = Literal["users", "teams", "organizations", "customers", "tags"]


def _one(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


NAMES: dict[Wanted, Names] = {
    "users": lambda row: _one(row.user),
    "teams": lambda row: _one(row.team),
    "organizations": lambda row: _one(row.org),
    "customers": lambda row: _one(row.cell.customer),
    "tags": lambda row: row.cell.tags,
}


def paged(kind: Wanted) -> Callable[[Services, Call[Nothing, ActivityPageQuery]], Awaitable[ActivityView]]:
    """The handler for users, teams, …: as many days as a page has."""

    async def handler(services: Services, call: Call[Nothing, ActivityPageQuery]) -> ActivityView:
        return await _activity(services, call, kind, call.query.page, call.query.page_size)

    return handler


def whole(kind: Wanted) -> Callable[[Services, Call[Nothing, ActivityQuery]], Awaitable[ActivityView]]:
    """The same with all days at once."""

    async def handler(services: Services, call: Call[Nothing, ActivityQuery]) -> ActivityView:
        return await _activity(services, call, kind, 1, reports.MOST_DAYS + 1)

    return handler


async def _activity(
    services: Services, call: Call[Any, Any], kind: Wanted, page: int, page_size: int
) -> ActivityView:
    query: ActivityQuery = call.query
    first, last = reports.days(services, query.start_date, query.end_date)
    filters = _filters(query)
    more = bool({kind, *filters} & {"customers", "tags"})
    rows = await reports.spent(services, call.caller.acting, first, last, more=more)
    tokens = services.keys.names_in_reports(query.api_key) if query.api_key else None
    rows = [row for row in rows if _fits(row, query, filters) and (tokens is None or row.token in tokens)]
    providers = reports.providers(services)
    wanted, unwanted = filters.get(kind, (None, frozenset()))

    def entities(row: Spent) -> list[str]:
        names = NAMES[kind](row)
        return [name for name in names if (wanted is None or name in wanted) and name not in unwanted]

    # Days on which nothing happened are left out, the newest first.
    by_day = {day: found for day, found in reports.by_day(rows, first, last).items() if found}
    shown = sorted(by_day, reverse=True)
    start = (page - 1) * page_size
    total_pages = max(-(-len(shown) // page_size), 1)
    results = [
        Day(
            date=day.isoformat(),
            metrics=_metrics(reports.total(by_day[day])),
            breakdown=_breakdown(by_day[day], entities, providers),
        )
        for day in shown[start : start + page_size]
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
            page=page,
            total_pages=total_pages,
            has_more=page < total_pages,
        ),
    )


Filter = tuple[frozenset[str] | None, frozenset[str]]


def _filters(query: ActivityQuery) -> dict[Wanted, Filter]:
    """What is wanted (None: all) and what is not, of the kinds that the caller named."""
    given: dict[Wanted, tuple[str | None, str | None]] = {
        "users": (query.user_id, query.exclude_user_ids),
        "teams": (query.team_ids, query.exclude_team_ids),
        "organizations": (query.organization_ids, query.exclude_organization_ids),
        "customers": (query.end_user_ids, query.exclude_end_user_ids),
        "tags": (query.tags, query.exclude_tags),
    }
    return {
        kind: (_listed(wanted), _listed(unwanted) or frozenset())
        for kind, (wanted, unwanted) in given.items()
        if wanted or unwanted
    }


def _listed(text: str | None) -> frozenset[str] | None:
    return frozenset(name.strip() for name in text.split(",")) if text else None


def _fits(row: Spent, query: ActivityQuery, filters: Mapping[Wanted, Filter]) -> bool:
    for kind, (wanted, unwanted) in filters.items():
        names = NAMES[kind](row)
        if (wanted is not None and wanted.isdisjoint(names)) or not unwanted.isdisjoint(names):
            return False
    return not query.model or row.cell.model == query.model


def _breakdown(rows: Sequence[Spent], entities: Names, providers: Mapping[str, str]) -> Breakdown:
    def broken(group: Callable[[Spent], str | None]) -> dict[str, Broken]:
        return {name: Broken(metrics=_metrics(sums)) for name, sums in reports.by(rows, group).items()}

    models = broken(lambda row: row.cell.model or None)
    of_key = {row.token: row for row in rows}
    return Breakdown(
        models=models,
        model_groups=models,
        providers=broken(lambda row: providers.get(row.cell.deployment)),
        api_keys={
            token: Broken(
                metrics=_metrics(sums),
                metadata={"key_alias": key.alias if key else None, "team_id": of_key[token].team},
            )
            for token, sums in reports.by(rows, lambda row: row.token or None).items()
            for key in (of_key[token].key,)
        },
        entities={
            name: Broken(metrics=_metrics(sums)) for name, sums in reports.by_each(rows, entities).items()
        },
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
