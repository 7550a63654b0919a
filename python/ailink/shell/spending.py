"""`GET /v1/users/{user_id}/spending`, `GET /v1/teams/{team_id}/spending`: what one holder spent."""

from __future__ import annotations

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.errors import ApiError, forbidden
from ailink.admin.holders import found
from ailink.admin.rest_fields import Spending, SpendingQuery, Spent
from ailink.admin.services import Services
from ailink.admin.setting_fields import holder_values
from ailink.admin.spent import spent
from ailink.ledger.money import Usd
from ailink.ledger.reader import LedgerError
from ailink.ledger.report import DAY_US, Amounts, Dimension, Report, ask
from ailink.shell.spend_report import SpendQuery, question_of
from ailink.snapshot.model import SubjectKind
from ailink.store.tenancy import Team, User, teams, users


async def of_user(services: Services, call: Call[Nothing, SpendingQuery]) -> Spending:
    """What all keys of a user spent, and how his budget stands."""
    actor = call.caller.acting
    user = await found(services.database, actor.reach("users.read"), users, call.path["user_id"], "user_id")
    if not actor.may("spend.read", org=user.org_id, user=user.id):
        raise forbidden("This needs the permission `spend.read` there.", code="permission_denied")
    return await _spending(services, call.query, "user", user)


async def of_team(services: Services, call: Call[Nothing, SpendingQuery]) -> Spending:
    """What all keys of a team spent, and how its budget stands."""
    actor = call.caller.acting
    team = await found(services.database, actor.reach("teams.read"), teams, call.path["team_id"], "team_id")
    if not actor.may("spend.read", org=team.org_id, team=team.id):
        raise forbidden("This needs the permission `spend.read` there.", code="permission_denied")
    return await _spending(services, call.query, "team", team)


async def _spending(
    services: Services, query: SpendingQuery, kind: SubjectKind, holder: User | Team
) -> Spending:
    question = question_of(SpendQuery(start=query.start, end=query.end))
    question = msgspec.structs.replace(question, filters={kind: holder.id})
    by: list[Report] = []
    dimensions: tuple[Dimension, ...] = ("model", "day")
    try:
        by += [
            await ask(services.ledger, msgspec.structs.replace(question, group_by=(one,)))
            for one in dimensions
        ]
    except LedgerError as error:
        raise ApiError(503, str(error), type="api_error", code="ledger_unavailable") from error
    used = (await spent(services, kind, [holder]))[holder.id]
    values = holder_values(holder.settings, used, services.changes.now_us())
    return Spending(
        id=holder.id,
        start=instant(question.start_us),
        end=instant(question.end_us),
        total=_spent(None, by[0].total),
        by_model=[_spent(_name(line.names[0]), line.amounts) for line in by[0].lines],
        by_day=[_spent(_name(line.names[0]), line.amounts) for line in by[1].lines],
        budget_spend=values["spend"],
        max_budget=values["max_budget"],
        budget_reset_at=values["budget_reset_at"],
    )


def _name(name: str | int | None) -> str | None:
    return instant(name * DAY_US).date().isoformat() if isinstance(name, int) else name


def _spent(name: str | None, amounts: Amounts) -> Spent:
    return Spent(
        name=name,
        spend=Usd(amounts.cost_pico),
        requests=amounts.requests,
        failed_requests=amounts.errors,
        input_tokens=amounts.input,
        output_tokens=amounts.output,
    )
