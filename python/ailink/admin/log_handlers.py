"""`/spend/logs`: upstream attempts or their sums by day; `/spend/logs/v2`: attempts by pages, filtered and in
an order. In LiteLLM's shapes.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant, microseconds
from ailink.admin.errors import bad_request
from ailink.admin.holders import require_everywhere
from ailink.admin.key_fields import KeyName
from ailink.admin.money_fields import Money, pico
from ailink.admin.reports import DEFAULT_DAYS, MOST_DAYS
from ailink.admin.services import Services
from ailink.admin.spend_handlers import CHECKED, SpendLog, key_id_of, logs_of, unavailable
from ailink.ledger.money import Usd
from ailink.ledger.reader import REQUEST_ID, LedgerError
from ailink.ledger.report import DAY_US, Dimension, Question, ask
from ailink.ledger.search import Order, Search, latest, search
from ailink.store import keys

Name = Annotated[str, Meta(max_length=256)]
Moment = Annotated[str, Meta(max_length=40, description="`2026-01-31` or `2026-01-31 08:00:00`, UTC.")]


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without days: the latest attempts. With one of them or both: sums of each day (UTC), or with
    `summarize=false` the attempts of these days, newest first.
    """

    request_id: Annotated[Name | None, Meta(description="All attempts of this request.")] = None
    api_key: KeyName | None = None
    user_id: Name | None = None
    start_date: Moment | None = None
    end_date: Annotated[Moment | None, Meta(description="A day alone is counted in.")] = None
    summarize: bool = True
    limit: (
        Annotated[int, Meta(ge=1, le=1_000, description="Attempts at most: 100, with days 1,000.")] | None
    ) = None


class SpendDay(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent on one day. A user `""` stands for what was nobody's; models by the names that clients
    used.
    """

    startTime: str  # noqa: N815 - LiteLLM's name
    spend: Usd
    users: dict[str, Usd]
    models: dict[str, Usd]


class LogsPageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without times: the last 30 days. `model` is the provider's name of it, `model_group` the one that the
    client used, `model_id` the deployment.
    """

    page: Annotated[int, Meta(ge=1, le=100_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=1_000)] = 50
    start_date: Moment | None = None
    end_date: Annotated[Moment | None, Meta(description="A day alone is counted in.")] = None
    request_id: Name | None = None
    api_key: KeyName | None = None
    key_alias: Name | None = None
    user_id: Name | None = None
    team_id: Name | None = None
    end_user: Name | None = None
    model: Name | None = None
    model_group: Name | None = None
    model_id: Name | None = None
    status_filter: Literal["success", "failure"] | None = None
    min_spend: Money | None = None
    error_code: Annotated[int, Meta(ge=100, le=599, description="The provider's status.")] | None = None
    exclude_internal_health_checks: bool = False
    max_spend: Money | None = None
    sort_by: Order = "startTime"
    sort_order: Literal["asc", "desc"] = "desc"


class LogsPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[SpendLog]
    total: int
    page: int
    page_size: int
    total_pages: int


async def logs(services: Services, call: Call[Nothing, LogsQuery]) -> list[SpendLog] | list[SpendDay]:
    """The latest attempts, those of one request in their order; of days: sums or attempts."""
    require_everywhere(call.caller.acting, "spend.read")
    query = call.query
    if query.request_id is not None and (query.api_key, query.user_id) != (None, None):
        param = "user_id" if query.api_key is None else "api_key"
        raise bad_request(f"give request_id or {param}, not both", param=param)
    dated = (query.start_date, query.end_date) != (None, None)
    key_id = None if query.api_key is None else await key_id_of(services, query.api_key)
    try:
        if dated and query.summarize:
            return await _by_day(services, query, key_id)
        if dated or (key_id is not None and query.user_id is not None):
            return await _found(services, query, key_id)
        limit = query.limit or 100
        if query.request_id is not None:
            attempts = await services.ledger.of_request(query.request_id, limit)
        elif key_id is not None:
            attempts = await services.ledger.of_holder("key", key_id, limit)
        elif query.user_id is not None:
            attempts = await services.ledger.of_holder("user", query.user_id, limit)
        else:
            attempts = await services.ledger.newest(limit)
        return await logs_of(services, attempts)
    except LedgerError as error:
        raise unavailable(error) from error


async def _found(services: Services, query: LogsQuery, key_id: str | None) -> list[SpendLog]:
    start_us, end_us = _range(query, services.changes.now_us())
    names: dict[Dimension, Collection[str]] = {}
    if key_id is not None:
        names["key"] = (key_id,)
    if query.user_id is not None:
        names["user"] = (query.user_id,)
    request_id = None if query.request_id is None else _raw(query.request_id)
    wanted = Search(start_us=start_us, end_us=end_us, names=names, request_id=request_id)
    return await logs_of(services, await latest(services.ledger, wanted, query.limit or 1_000))


async def _by_day(services: Services, query: LogsQuery, key_id: str | None) -> list[SpendDay]:
    if query.request_id is not None:
        message = "the sums of days are not those of one request: give summarize=false, or no days"
        raise bad_request(message, param="request_id")
    start_us, end_us = _range(query, services.changes.now_us())
    first, last = start_us // DAY_US, (end_us - 1) // DAY_US
    if last - first > MOST_DAYS:
        raise bad_request(f"`start_date`: at most {MOST_DAYS} days at once", param="start_date")
    filters: dict[str, str] = {} if key_id is None else {"key": key_id}
    if query.user_id is not None:
        filters["user"] = query.user_id
    question = Question(start_us=start_us, end_us=end_us, group_by=("day", "user", "model"), filters=filters)
    users: dict[int, dict[str, int]] = {day: {} for day in range(first, last + 1)}
    models: dict[int, dict[str, int]] = {day: {} for day in range(first, last + 1)}
    for line in (await ask(services.ledger, question)).lines:
        day, user, model = line.names
        for names, name in ((users, user), (models, model)):
            of_day = names[cast(int, day)]
            of_day[str(name or "")] = of_day.get(str(name or ""), 0) + line.amounts.cost_pico
    return [
        SpendDay(
            startTime=instant(day * DAY_US).date().isoformat(),
            spend=Usd(sum(users[day].values())),
            users={name: Usd(cost) for name, cost in users[day].items()},
            models={name: Usd(cost) for name, cost in models[day].items()},
        )
        for day in users
    ]


async def page(services: Services, call: Call[Nothing, LogsPageQuery]) -> LogsPage:
    require_everywhere(call.caller.acting, "spend.read")
    query = call.query
    start_us, end_us = _range(query, services.changes.now_us())
    wanted = Search(
        start_us=start_us,
        end_us=end_us,
        names=await _names(services, query),
        request_id=None if query.request_id is None else _raw(query.request_id),
        status=query.error_code,
        without_flags=CHECKED if query.exclude_internal_health_checks else 0,
        failed=None if query.status_filter is None else query.status_filter == "failure",
        least_pico=pico(query.min_spend, "min_spend"),
        most_pico=pico(query.max_spend, "max_spend"),
        order=query.sort_by,
        descending=query.sort_order == "desc",
    )
    try:
        found = await search(services.ledger, wanted, query.page_size, (query.page - 1) * query.page_size)
        data = await logs_of(services, found.attempts)
    except LedgerError as error:
        raise unavailable(error) from error
    return LogsPage(
        data=data,
        total=found.total,
        page=query.page,
        page_size=query.page_size,
        total_pages=-(-found.total // query.page_size),
    )


async def _names(services: Services, query: LogsPageQuery) -> dict[Dimension, Collection[str]]:
    given: tuple[tuple[Dimension, str | None], ...] = (
        ("user", query.user_id),
        ("team", query.team_id),
        ("customer", query.end_user),
        ("model", query.model_group),
        ("deployment", query.model_id),
    )
    names: dict[Dimension, Collection[str]] = {
        dimension: (name,) for dimension, name in given if name is not None
    }
    if query.api_key is not None:
        names["key"] = (await key_id_of(services, query.api_key),)
    if query.key_alias is not None:
        named = {record.id for record in await keys.of_alias(services.database, query.key_alias)}
        names["key"] = named & set(names.get("key", named))
    if query.model is not None:
        places = {
            place.id
            for model in services.config.models()
            for place in model.deployments
            if place.model == query.model
        }
        names["deployment"] = places & set(names.get("deployment", places))
    return names


def _range(query: LogsPageQuery | LogsQuery, now_us: int) -> tuple[int, int]:
    end_us = now_us + 1 if query.end_date is None else _moment(query.end_date, "end_date", whole_day=True)
    if query.start_date is None:
        return end_us - DEFAULT_DAYS * DAY_US, end_us
    start_us = _moment(query.start_date, "start_date", whole_day=False)
    if start_us >= end_us:
        raise bad_request("`start_date` is after `end_date`", param="start_date")
    return start_us, end_us


def _moment(text: str, param: str, *, whole_day: bool) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        day_alone = len(text) <= len("2026-01-31")
        return microseconds(moment + timedelta(days=1) if whole_day and day_alone else moment)
    except (ValueError, OverflowError) as error:
        message = "expected a time such as 2026-01-31 or 2026-01-31 08:00:00"
        raise bad_request(message, param=param) from error


def _raw(request_id: str) -> bytes:
    match = REQUEST_ID.fullmatch(request_id.lower())
    # What is no id of ours has no attempts.
    return b"" if match is None else bytes.fromhex(match[1])
