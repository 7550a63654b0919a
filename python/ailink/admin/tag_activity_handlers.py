"""How many people a tag has: `/tag/distinct`, `/tag/dau` and its kin, `/tag/summary`, in LiteLLM's shapes.

A user is who the key of a request acted for when it was sent; keys of nobody (service accounts, the master
key) count requests and no user.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin import reports
from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.reports import Spent
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.ledger.money import Usd

# Days, weeks or months of 30 days that are told, the one that ends today first.
PERIODS = 7
Names = Annotated[str, Meta(max_length=4_096)]


class TagsNamed(Request, frozen=True, kw_only=True):
    """All tags, unless some are named: one, or several with commas."""

    tag_filter: Names | None = None
    tag_filters: Names | None = None


class TagDaysQuery(TagsNamed, frozen=True, kw_only=True):
    """Days are `2026-01-31`, both included, UTC; without them the last 30."""

    start_date: str | None = None
    end_date: str | None = None


class DistinctTag(msgspec.Struct, frozen=True, kw_only=True):
    tag: str


class DistinctTags(msgspec.Struct, frozen=True, kw_only=True):
    results: list[DistinctTag]


class ActiveUsers(msgspec.Struct, frozen=True, kw_only=True):
    """`date`: the day, or `Week 1`, `Month 1` for the one that ends today. Both ends are included."""

    tag: str
    active_users: int
    date: str
    period_start: str
    period_end: str


class TagUsers(msgspec.Struct, frozen=True, kw_only=True):
    results: list[ActiveUsers]


class TagSummary(msgspec.Struct, frozen=True, kw_only=True):
    tag: str
    unique_users: int
    total_requests: int
    successful_requests: int
    failed_requests: int
    total_tokens: int
    total_spend: Usd


class TagSummaries(msgspec.Struct, frozen=True, kw_only=True):
    results: list[TagSummary]


async def distinct(services: Services, call: Call[Nothing, Nothing]) -> DistinctTags:
    """Tags of the last days that a report may cover, by name."""
    today = _today(services)
    first = today - timedelta(days=reports.MOST_DAYS)
    rows = await reports.spent(services, call.caller.acting, first, today, more=True)
    tags = sorted({tag for row in rows for tag in row.cell.tags})
    return DistinctTags(results=[DistinctTag(tag=tag) for tag in tags])


def active(length: int, name: str) -> Callable[[Services, Call[Nothing, TagsNamed]], Awaitable[TagUsers]]:
    """The handler for periods of so many days, which end today and follow one another backwards."""

    async def handler(services: Services, call: Call[Nothing, TagsNamed]) -> TagUsers:
        today, wanted = _today(services), _named(call.query)
        first = today - timedelta(days=length * PERIODS - 1)
        rows = await reports.spent(services, call.caller.acting, first, today, more=True)
        results: list[ActiveUsers] = []
        for number in range(PERIODS):
            end = today - timedelta(days=length * number)
            start = end - timedelta(days=length - 1)
            users = _users([row for row in rows if start <= row.cell.day <= end], wanted)
            results += [
                ActiveUsers(
                    tag=tag,
                    active_users=len(names),
                    date=f"{name} {number + 1}" if name else end.isoformat(),
                    period_start=start.isoformat(),
                    period_end=end.isoformat(),
                )
                for tag, names in sorted(users.items(), key=lambda pair: (-len(pair[1]), pair[0]))
                if names
            ]
        return TagUsers(results=results)

    return handler


async def summary(services: Services, call: Call[Nothing, TagDaysQuery]) -> TagSummaries:
    """Users, requests, tokens and spend of each tag, the dearest first."""
    first, last = reports.days(services, call.query.start_date, call.query.end_date)
    rows = await reports.spent(services, call.caller.acting, first, last, more=True)
    wanted = _named(call.query)
    users = _users(rows, wanted)
    return TagSummaries(
        results=[
            TagSummary(
                tag=tag,
                unique_users=len(users[tag]),
                total_requests=sums.requests,
                successful_requests=sums.requests - sums.errors,
                failed_requests=sums.errors,
                total_tokens=sums.input + sums.output,
                total_spend=Usd(sums.cost_pico),
            )
            for tag, sums in reports.by_each(rows, lambda row: row.cell.tags).items()
            if tag in users
        ]
    )


def _users(rows: Sequence[Spent], wanted: frozenset[str]) -> dict[str, set[str]]:
    """Tag → who used it, of the wanted tags, or all where none is named."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for tag in row.cell.tags:
            if not wanted or tag in wanted:
                found.setdefault(tag, set()).update(() if row.user is None else (row.user,))
    return found


def _named(query: TagsNamed) -> frozenset[str]:
    """Several win over one."""
    text = query.tag_filters or query.tag_filter or ""
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _today(services: Services) -> date:
    return instant(services.changes.now_us()).date()
