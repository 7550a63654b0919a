"""`/global/spend/*`, `/spend/*` and `/*/spend/report`: sums of the ledger, in LiteLLM's shapes."""

from __future__ import annotations

from collections.abc import Callable
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
from ailink.store.keys import KeyRecord
from ailink.store.reach import EVERYWHERE
from ailink.store.tenancy import teams, users

Limit = Annotated[int, Meta(ge=1, le=1_000)]


class DaysQuery(Request, frozen=True, kw_only=True):
    """Days are `2026-01-31`, both included, UTC; without them the last 30."""

    start_date: str | None = None
    end_date: str | None = None
    limit: Limit = 100


class UsersQuery(DaysQuery, frozen=True, kw_only=True):
    user_id: str | None = None


class ReportQuery(Request, frozen=True, kw_only=True):
    start_date: str | None = None
    end_date: str | None = None
    group_by: Annotated[
        Literal["team", "customer", "api_key", "user", "organization", "model"] | None,
        Meta(description="Without it: what `customer_id`, `api_key` or `internal_user_id` name, else teams."),
    ] = None
    api_key: str | None = None
    internal_user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    customer_id: str | None = None


class KeySpend(msgspec.Struct, frozen=True, kw_only=True):
    api_key: str
    key_alias: str | None
    key_name: str | None
    total_spend: Usd


class KeySpender(KeySpend, frozen=True, kw_only=True):
    """With the names that a key's row has."""

    token: str
    spend: Usd
    user_id: str | None
    team_id: str | None


class ModelSpend(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    total_spend: Usd


class NamedSpend(msgspec.Struct, frozen=True, kw_only=True):
    """One spender with sums."""

    id: str
    name: str | None
    spend: Usd
    api_requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UserSpend(NamedSpend, frozen=True, kw_only=True):
    user_id: str


class ProviderSpend(NamedSpend, frozen=True, kw_only=True):
    provider: str


class TeamsSpend(msgspec.Struct, frozen=True, kw_only=True):
    daily_spend: list[dict[str, Any]]
    teams: list[str]
    total_spend_per_team: list[dict[str, Any]]


class ModelDetail(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    spend: Usd
    total_tokens: int
    api_key: str


class GroupSpend(msgspec.Struct, frozen=True, kw_only=True):
    team_name: str
    team_id: str
    total_spend: Usd
    metadata: list[ModelDetail]


class DayReport(msgspec.Struct, frozen=True, kw_only=True):
    group_by_day: str
    teams: list[GroupSpend]


class CustomerSpend(msgspec.Struct, frozen=True, kw_only=True):
    customer: str
    total_spend: Usd
    metadata: list[ModelDetail]


class CustomersDay(msgspec.Struct, frozen=True, kw_only=True):
    group_by_day: str
    customers: list[CustomerSpend]


class ModelCost(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    total_cost: Usd
    total_input_tokens: int
    total_output_tokens: int


class EntityReport(msgspec.Struct, frozen=True, kw_only=True):
    """One spender; `id` repeats the field that LiteLLM names after the grouping."""

    id: str
    api_key: str | None = None
    internal_user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    model: str | None = None
    total_cost: Usd
    total_input_tokens: int
    total_output_tokens: int
    model_details: list[ModelCost]


Group = Callable[[Spent], str | None]
GROUPS: dict[str, Group] = {
    "team": lambda row: row.team,
    "api_key": lambda row: row.token or None,
    "user": lambda row: row.user,
    "organization": lambda row: row.org,
    "model": lambda row: row.cell.model or None,
}
FIELDS = {
    "api_key": "api_key",
    "user": "internal_user_id",
    "team": "team_id",
    "organization": "organization_id",
    "model": "model",
}


async def rows_of(services: Services, call: Call[Any, Any], *, more: bool = False) -> list[Spent]:
    first, last = reports.days(services, call.query.start_date, call.query.end_date)
    return await reports.spent(services, call.caller.acting, first, last, more=more)


async def keys(services: Services, call: Call[Nothing, DaysQuery]) -> list[KeySpend]:
    """The keys that spent most."""
    found = _spending_keys(await rows_of(services, call), call.query.limit)
    return [KeySpend(**_key_spend(token, key, sums)) for token, key, sums in found]


async def spending_keys(services: Services, call: Call[Nothing, DaysQuery]) -> list[KeySpender]:
    """The keys that spent most, and whose they are, as far as the caller sees that too."""
    actor = call.caller.acting
    views = []
    for token, key, sums in _spending_keys(await rows_of(services, call), call.query.limit):
        seen = key is not None and actor.may("spend.read", org=key.org_id, team=key.team_id, user=key.user_id)
        views.append(
            KeySpender(
                **_key_spend(token, key, sums),
                token=token,
                spend=Usd(sums.cost_pico),
                user_id=key.user_id if key is not None and seen else None,
                team_id=key.team_id if key is not None and seen else None,
            )
        )
    return views


def _spending_keys(rows: list[Spent], limit: int) -> list[tuple[str, KeyRecord | None, Sums]]:
    records = {row.token: row.key for row in rows}
    found = list(reports.by(rows, GROUPS["api_key"]).items())[:limit]
    return [(token, records[token], sums) for token, sums in found]


def _key_spend(token: str, key: KeyRecord | None, sums: Sums) -> dict[str, Any]:
    return {
        "api_key": token,
        "key_alias": key.alias if key else None,
        "key_name": key.display if key else None,
        "total_spend": Usd(sums.cost_pico),
    }


async def models(services: Services, call: Call[Nothing, DaysQuery]) -> list[ModelSpend]:
    """The models that cost most."""
    found = list(reports.by(await rows_of(services, call), GROUPS["model"]).items())[: call.query.limit]
    return [ModelSpend(model=model, total_spend=Usd(sums.cost_pico)) for model, sums in found]


async def spenders(services: Services, call: Call[Nothing, UsersQuery]) -> list[UserSpend]:
    """The users that spent most, or the named one."""
    rows = await rows_of(services, call)
    wanted = call.query.user_id
    found = [pair for pair in reports.by(rows, GROUPS["user"]).items() if wanted in (None, pair[0])]
    found = found[: call.query.limit]
    people = await users.many(services.database, EVERYWHERE, [name for name, _ in found])
    return [
        UserSpend(user_id=name, **_named(name, people[name].alias if name in people else None, sums))
        for name, sums in found
    ]


async def by_provider(services: Services, call: Call[Nothing, DaysQuery]) -> list[ProviderSpend]:
    known = reports.providers(services)
    rows = await rows_of(services, call)
    found = list(reports.by(rows, lambda row: known.get(row.cell.deployment)).items())[: call.query.limit]
    return [ProviderSpend(provider=name, **_named(name, None, sums)) for name, sums in found]


async def of_teams(services: Services, call: Call[Nothing, DaysQuery]) -> TeamsSpend:
    """Day by day, and in all."""
    first, last = reports.days(services, call.query.start_date, call.query.end_date)
    rows = await reports.spent(services, call.caller.acting, first, last)
    found = reports.by(rows, GROUPS["team"])
    named = await teams.many(services.database, EVERYWHERE, found)

    def name(team: str) -> str:
        return (named[team].alias if team in named else None) or team

    return TeamsSpend(
        daily_spend=[
            {"date": day.isoformat()}
            | {name(team): Usd(sums.cost_pico) for team, sums in reports.by(of_day, GROUPS["team"]).items()}
            for day, of_day in reports.by_day(rows, first, last).items()
        ],
        teams=[name(team) for team in found],
        total_spend_per_team=[
            {
                "team_id": team,
                "name": name(team),
                "value": Usd(sums.cost_pico),
                "total_spend": Usd(sums.cost_pico),
            }
            for team, sums in found.items()
        ],
    )


async def report(
    services: Services, call: Call[Nothing, ReportQuery]
) -> list[DayReport] | list[CustomersDay] | list[EntityReport]:
    """By team and customer: day by day. By anything else: in all, model by model."""
    query = call.query
    first, last = reports.days(services, query.start_date, query.end_date)
    group = query.group_by or _implied(query)
    more = group == "customer" or query.customer_id is not None
    found = await reports.spent(services, call.caller.acting, first, last, more=more)
    rows = _wanted(services, found, query)
    if group not in ("team", "customer"):
        return _entities(rows, group)
    days = {day: of_day for day, of_day in reports.by_day(rows, first, last).items() if of_day}
    if group == "customer":
        return [
            CustomersDay(group_by_day=day.isoformat(), customers=spending)
            for day, of_day in days.items()
            if (spending := _customers(of_day))
        ]
    return [
        DayReport(group_by_day=day.isoformat(), teams=of_teams)
        for day, of_day in days.items()
        if (of_teams := await _teams(services, of_day))
    ]


def _implied(query: ReportQuery) -> str:
    named = {"customer": query.customer_id, "api_key": query.api_key, "user": query.internal_user_id}
    return next((group for group, name in named.items() if name is not None), "team")


async def _teams(services: Services, rows: list[Spent]) -> list[GroupSpend]:
    ids = reports.by(rows, GROUPS["team"])
    named = await teams.many(services.database, EVERYWHERE, ids)
    return [
        GroupSpend(
            team_id=team,
            team_name=(named[team].alias if team in named else None) or team,
            total_spend=Usd(sums.cost_pico),
            metadata=_details([row for row in rows if row.team == team]),
        )
        for team, sums in ids.items()
    ]


def _customers(rows: list[Spent]) -> list[CustomerSpend]:
    return [
        CustomerSpend(
            customer=name,
            total_spend=Usd(sums.cost_pico),
            metadata=_details([row for row in rows if row.cell.customer == name]),
        )
        for name, sums in reports.by(rows, lambda row: row.cell.customer).items()
    ]


def grouped(group: str) -> Callable[[Services, Call[Nothing, ReportQuery]], Any]:
    """The handler of a report that is always grouped alike."""

    async def handler(services: Services, call: Call[Nothing, ReportQuery]) -> list[EntityReport]:
        more = call.query.customer_id is not None
        rows = _wanted(services, await rows_of(services, call, more=more), call.query)
        return _entities(rows, group)

    return handler


def _wanted(services: Services, rows: list[Spent], query: ReportQuery) -> list[Spent]:
    tokens = None if query.api_key is None else services.keys.names_in_reports(query.api_key)

    def fits(row: Spent) -> bool:
        pairs = (
            (query.internal_user_id, row.user),
            (query.team_id, row.team),
            (query.organization_id, row.org),
            (query.customer_id, row.cell.customer),
        )
        of_key = tokens is None or row.token in tokens
        return of_key and all(wanted is None or wanted == value for wanted, value in pairs)

    return [row for row in rows if fits(row)]


def _entities(rows: list[Spent], group: str) -> list[EntityReport]:
    return [
        EntityReport(
            id=name,
            **{FIELDS[group]: name},
            total_cost=Usd(sums.cost_pico),
            total_input_tokens=sums.input,
            total_output_tokens=sums.output,
            model_details=[
                ModelCost(
                    model=model,
                    total_cost=Usd(part.cost_pico),
                    total_input_tokens=part.input,
                    total_output_tokens=part.output,
                )
                for model, part in reports.by(
                    [row for row in rows if GROUPS[group](row) == name], GROUPS["model"]
                ).items()
            ],
        )
        for name, sums in reports.by(rows, GROUPS[group]).items()
    ]


def _details(rows: list[Spent]) -> list[ModelDetail]:
    found: dict[tuple[str, str], Sums] = {}
    for row in rows:
        place = (row.cell.model, row.token)
        found[place] = found.get(place, Sums()).plus(row.cell.sums)
    return [
        ModelDetail(
            model=model, api_key=token, spend=Usd(sums.cost_pico), total_tokens=sums.input + sums.output
        )
        for (model, token), sums in found.items()
    ]


def _named(name: str, alias: str | None, sums: Sums) -> dict[str, Any]:
    return {
        "id": name,
        "name": alias,
        "spend": Usd(sums.cost_pico),
        "api_requests": sums.requests,
        "prompt_tokens": sums.input,
        "completion_tokens": sums.output,
        "total_tokens": sums.input + sums.output,
    }
