"""Spend by tag and day, requests by day and model: `/spend/tags`, `/global/activity` and their kin."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin import reports
from ailink.admin.call import MASTER_ID, Call, Nothing
from ailink.admin.key_fields import KeyName
from ailink.admin.report_handlers import GROUPS, DaysQuery, rows_of
from ailink.admin.reports import Spent
from ailink.admin.services import Services
from ailink.admin.spend_handlers import unavailable
from ailink.ledger.money import Usd
from ailink.ledger.reader import LedgerError
from ailink.ledger.report import DAY_US, Dimension, Question, ask
from ailink.ledger.rollup import Sums


class TagsQuery(DaysQuery, frozen=True, kw_only=True):
    tags: Annotated[str | None, Meta(description="Names, with commas.")] = None


class KeyDaysQuery(DaysQuery, frozen=True, kw_only=True):
    api_key: KeyName | None = None


class TagCost(msgspec.Struct, frozen=True, kw_only=True):
    """A request with several tags counts in full with each."""

    individual_request_tag: str
    log_count: int
    total_spend: Usd


class TagSpend(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    spend: Usd
    log_count: int


class TagsSpend(msgspec.Struct, frozen=True, kw_only=True):
    spend_per_tag: list[TagSpend]


class TagsSpentOn(msgspec.Struct, frozen=True, kw_only=True):
    tag_names: list[str]


class CustomersSpentOn(msgspec.Struct, frozen=True, kw_only=True):
    end_users: list[str]


class DaySpend(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    spend: Usd


class ActivityDay(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    api_requests: int
    total_tokens: int


class GlobalActivity(msgspec.Struct, frozen=True, kw_only=True):
    daily_data: list[ActivityDay]
    sum_api_requests: int
    sum_total_tokens: int


class ModelActivity(GlobalActivity, frozen=True, kw_only=True):
    model: str


async def tag_costs(services: Services, call: Call[Nothing, DaysQuery]) -> list[TagCost]:
    """The tags that cost most."""
    found = await _by_tag(services, call)
    return [
        TagCost(individual_request_tag=tag, log_count=sums.requests, total_spend=Usd(sums.cost_pico))
        for tag, sums in found[: call.query.limit]
    ]


async def by_tag(services: Services, call: Call[Nothing, TagsQuery]) -> TagsSpend:
    """The same in the shape of `/global`, of the named tags or all."""
    wanted = {tag.strip() for tag in (call.query.tags or "").split(",") if tag.strip()}
    found = [(tag, sums) for tag, sums in await _by_tag(services, call) if not wanted or tag in wanted]
    return TagsSpend(
        spend_per_tag=[
            TagSpend(name=tag, spend=Usd(sums.cost_pico), log_count=sums.requests)
            for tag, sums in found[: call.query.limit]
        ]
    )


async def _by_tag(services: Services, call: Call[Any, Any]) -> list[tuple[str, Sums]]:
    rows = await rows_of(services, call, more=True)
    return list(reports.by_each(rows, lambda row: row.cell.tags).items())


async def tag_names(services: Services, call: Call[Nothing, Nothing]) -> TagsSpentOn:
    """Every tag that anything was spent with."""
    return TagsSpentOn(tag_names=await _spenders(services, "tag"))


async def customer_names(services: Services, call: Call[Nothing, Nothing]) -> CustomersSpentOn:
    """Every customer that anything was spent for."""
    return CustomersSpentOn(end_users=await _spenders(services, "customer"))


async def _spenders(services: Services, dimension: Dimension) -> list[str]:
    end_us = services.changes.now_us() + DAY_US
    try:
        found = await ask(services.ledger, Question(start_us=0, end_us=end_us, group_by=(dimension,)))
    except LedgerError as error:
        raise unavailable(error) from error
    return sorted({str(line.names[0]) for line in found.lines if line.names[0]})


async def by_days(services: Services, call: Call[Nothing, KeyDaysQuery]) -> list[DaySpend]:
    """Spend of each day; days without any are told too."""
    rows, first, last = await _of_days(services, call)
    wanted = call.query.api_key
    if wanted is not None:
        # A key that is not there has as little to show as one that the caller may not see.
        record = None if services.keys.is_master(wanted) else await services.keys.find(wanted)
        key_id = MASTER_ID if services.keys.is_master(wanted) else record and record.id
        rows = [row for row in rows if row.cell.key_id == key_id]
    return [
        DaySpend(date=day.isoformat(), spend=Usd(reports.total(of_day).cost_pico))
        for day, of_day in reports.by_day(rows, first, last).items()
    ]


async def activity(services: Services, call: Call[Nothing, DaysQuery]) -> GlobalActivity:
    rows, first, last = await _of_days(services, call)
    return GlobalActivity(**_activity(rows, first, last))


async def by_model(services: Services, call: Call[Nothing, DaysQuery]) -> list[ModelActivity]:
    """The same for each of the models that cost most."""
    rows, first, last = await _of_days(services, call)
    return [
        ModelActivity(model=model, **_activity([row for row in rows if row.cell.model == model], first, last))
        for model in list(reports.by(rows, GROUPS["model"]))[: call.query.limit]
    ]


async def _of_days(services: Services, call: Call[Any, Any]) -> tuple[list[Spent], date, date]:
    """What the caller may see of the days asked for, and the first and last of these."""
    first, last = reports.days(services, call.query.start_date, call.query.end_date)
    return await reports.spent(services, call.caller.acting, first, last), first, last


def _activity(rows: list[Spent], first: date, last: date) -> dict[str, Any]:
    sums = reports.total(rows)
    return {
        "daily_data": [
            ActivityDay(
                date=day.isoformat(), api_requests=part.requests, total_tokens=part.input + part.output
            )
            for day, of_day in reports.by_day(rows, first, last).items()
            for part in (reports.total(of_day),)
        ],
        "sum_api_requests": sums.requests,
        "sum_total_tokens": sums.input + sums.output,
    }
