"""Queries and answers of the REST views under `/v1`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.key_fields import KeyRowView
from ailink.admin.rest_pages import PageQuery
from ailink.admin.team_fields import TeamView
from ailink.admin.user_fields import UserView
from ailink.ledger.money import Usd

Name = Annotated[str, Meta(max_length=256)]


class KeysQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_id: Name | None = None
    team_id: Name | None = None
    project_id: Name | None = None
    organization_id: Name | None = None


class UsersQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    organization_id: Name | None = None
    search: Annotated[Name, Meta(description="A part of the e-mail address.")] | None = None


class TeamsQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    organization_id: Name | None = None
    search: Annotated[Name, Meta(description="A part of the name.")] | None = None


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    has_more: bool
    next_cursor: str | None


class KeyPage(_Page, frozen=True, kw_only=True):
    data: list[KeyRowView]


class UserPage(_Page, frozen=True, kw_only=True):
    data: list[UserView]


class TeamsPage(_Page, frozen=True, kw_only=True):
    data: list[TeamView]


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """It can be restored."""

    id: str
    deleted: bool = True


class SpendingQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    start: Annotated[
        str | None, Meta(description="First day (YYYY-MM-DD) or instant (RFC 3339); this month's first day.")
    ] = msgspec.field(default=None, name="from")
    end: Annotated[
        str | None, Meta(description="Last day, counted in, or the instant before which; this month's end.")
    ] = msgspec.field(default=None, name="to")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of the model, or the day."""

    name: str | None
    spend: Usd
    requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent in a time, and how the budget stands now. `to` is not included."""

    id: str
    start: datetime = msgspec.field(name="from")
    end: datetime = msgspec.field(name="to")
    total: Spent
    by_model: list[Spent]
    by_day: list[Spent]
    budget_spend: Usd
    max_budget: Usd | None
    budget_reset_at: datetime | None


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """`healthy`: of `deployments`, those that take requests. `source`: `file`, `api` or `catalogue`."""

    name: str
    title: str
    source: str
    dialect: str
    base_url: str | None
    has_key: bool
    deployments: int
    healthy: int
    models: list[str]


class ProvidersView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ProviderView]


class ProviderBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The words of `providers:` in the configuration file: `dialect`, `base_url`, `api_key`, `headers`, …"""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$(?!\n)")]
    settings: Annotated[dict[str, Any], Meta(max_length=50)]


class ProviderChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays, null takes away."""

    settings: Annotated[dict[str, Any], Meta(max_length=50)]
