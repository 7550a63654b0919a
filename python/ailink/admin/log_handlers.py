"""`/spend/logs/v2`: upstream attempts by pages, filtered and in an order, in LiteLLM's shape."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.durations import microseconds
from ailink.admin.errors import bad_request
from ailink.admin.key_fields import KeyName
from ailink.admin.money_fields import Money, pico
from ailink.admin.reports import DEFAULT_DAYS
from ailink.admin.services import Services
from ailink.admin.spend_handlers import SpendLog, key_id_of, logs_of, unavailable
from ailink.ledger.reader import REQUEST_ID, LedgerError
from ailink.ledger.report import DAY_US, Dimension
from ailink.ledger.search import Order, Search, search

Name = Annotated[str, Meta(max_length=256)]
Moment = Annotated[str, Meta(max_length=40, description="`2026-01-31` or `2026-01-31 08:00:00`, UTC.")]


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
    user_id: Name | None = None
    team_id: Name | None = None
    end_user: Name | None = None
    model: Name | None = None
    model_group: Name | None = None
    model_id: Name | None = None
    status_filter: Literal["success", "failure"] | None = None
    min_spend: Money | None = None
    max_spend: Money | None = None
    sort_by: Order = "startTime"
    sort_order: Literal["asc", "desc"] = "desc"


class LogsPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[SpendLog]
    total: int
    page: int
    page_size: int
    total_pages: int


async def page(services: Services, call: Call[Nothing, LogsPageQuery]) -> LogsPage:
    query = call.query
    start_us, end_us = _range(query, services.changes.now_us())
    wanted = Search(
        start_us=start_us,
        end_us=end_us,
        names=await _names(services, query),
        request_id=None if query.request_id is None else _raw(query.request_id),
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
    if query.model is not None:
        places = {
            place.id
            for model in services.config.models()
            for place in model.deployments
            if place.model == query.model
        }
        names["deployment"] = places & set(names.get("deployment", places))
    return names


def _range(query: LogsPageQuery, now_us: int) -> tuple[int, int]:
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
