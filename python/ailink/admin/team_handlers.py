"""Handlers of `/team/*`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin import key_handlers, members, teams
from ailink.admin.call import Call, Caller, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.holders import found, pages
from ailink.admin.key_owner import MEMBER_ROUTES, visible
from ailink.admin.services import Services
from ailink.admin.setting_fields import BudgetView, holder_values, limit_values, stamps
from ailink.admin.spent import spent
from ailink.admin.team_fields import (
    DeletedTeams,
    DeleteTeams,
    MembershipView,
    MemberView,
    NewTeam,
    OneTeam,
    PermissionsView,
    TeamChanges,
    TeamInfoView,
    TeamModels,
    TeamPage,
    TeamPageQuery,
    TeamPermissions,
    TeamQuery,
    TeamsQuery,
    TeamView,
    UpdatedTeam,
    UpdateTeam,
)
from ailink.identity.roles import shown_name
from ailink.ledger.money import Usd, usd_or_none
from ailink.store import keys
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match, Sort, literal
from ailink.store.tenancy import Membership, Team, users
from ailink.store.tenancy import teams as rows

SORTS = {"created_at": "created_us", "team_alias": "alias", "team_id": "id"}
KEYS_SHOWN = 100


async def new(services: Services, call: Call[NewTeam, Nothing]) -> TeamView:
    async with services.changes.make(call.caller) as change:
        record = await teams.create(change, call.body)
    return await view(services, record)


async def update(services: Services, call: Call[UpdateTeam, Nothing]) -> UpdatedTeam:
    async with services.changes.make(call.caller) as change:
        record = await teams.update(change, call.body.team_id, call.body)
    return UpdatedTeam(team_id=record.id, data=await view(services, record))


async def update_named(services: Services, call: Call[TeamChanges, Nothing]) -> UpdatedTeam:
    async with services.changes.make(call.caller) as change:
        record = await teams.update(change, call.path["team_id"], call.body)
    return UpdatedTeam(team_id=record.id, data=await view(services, record))


async def delete(services: Services, call: Call[DeleteTeams, Nothing]) -> DeletedTeams:
    """All of them, with their keys, or none."""
    async with services.changes.make(call.caller) as change:
        gone, count = await teams.delete(change, services.keys, call.body.team_ids)
    return DeletedTeams(deleted_teams=[team.id for team in gone], deleted_keys=count)


async def restore(services: Services, call: Call[Nothing, Nothing]) -> TeamView:
    async with services.changes.make(call.caller) as change:
        record = await teams.restore(change, services.keys, call.path["team_id"])
    return await view(services, record)


async def info(services: Services, call: Call[Nothing, TeamQuery]) -> Tagged[TeamInfoView]:
    query = call.query
    team = await _found(services, call.caller, query.team_id)
    joined = (await members.of(services.database, "team", [team.id]))[team.id]
    found_keys = await keys.of(services.database, "team_id", [team.id])
    limit = KEYS_SHOWN if query.key_limit is None else query.key_limit
    shown = [row for row in found_keys if visible(call.caller.acting, row)][:limit]
    found = TeamInfoView(
        team_id=team.id,
        team_info=await view(services, team),
        keys=await key_handlers.row_views(services, shown),
        team_memberships=await membership_views(services, joined),
    )
    return Tagged(found, etag(team.version))


async def list_teams(services: Services, call: Call[Nothing, TeamsQuery]) -> list[TeamView]:
    query = call.query
    match = await _match(services, query.user_id, {"org_id": query.organization_id})
    found_rows = await rows.find(services.database, call.caller.acting.reach(teams.READ), match)
    return await views(services, found_rows)


async def page(services: Services, call: Call[Nothing, TeamPageQuery]) -> TeamPage:
    query, reach = call.query, call.caller.acting.reach(teams.READ)
    equal = {"org_id": query.organization_id, "id": query.team_id}
    match = await _match(services, query.user_id, equal, query.team_alias)
    if query.search:
        # A part of the alias, or the id. Not LIKE for the id: SQLite's knows no case, PostgreSQL's does.
        exact = query.search_team_id_match == "exact"
        by_id = "id = ?" if exact else f"substr(id, 1, {len(query.search)}) = ?"
        where = f"lower(alias) LIKE ? ESCAPE '\\' OR {by_id}"
        params = [f"%{literal(query.search.lower())}%", query.search]
        match = msgspec.structs.replace(match, where=where, params=params)
    sort = Sort(
        limit=query.page_size,
        offset=(query.page - 1) * query.page_size,
        column=SORTS[query.sort_by or "created_at"],
        descending=query.sort_order == "desc",
    )
    total = await rows.count(services.database, reach, match)
    found_rows = await rows.find(services.database, reach, match, sort)
    return TeamPage(
        teams=await views(services, found_rows),
        total=total,
        page=query.page,
        page_size=query.page_size,
        total_pages=pages(total, query.page_size),
    )


async def available(services: Services, call: Call[Nothing, Nothing]) -> list[TeamView]:
    """Teams the caller could join: those he sees and is no member of."""
    actor = call.caller.acting
    found_rows = await rows.find(services.database, actor.reach(teams.READ))
    return await views(services, [team for team in found_rows if team.id not in actor.teams])


async def _match(
    services: Services, user_id: str | None, equal: dict[str, str | None], alias: str | None = None
) -> Match:
    one_of = {}
    if user_id is not None:
        joined = await members.of_user(services.database, user_id, "team")
        one_of = {"id": [member.holder_id for member in joined]}
    return Match(
        equal={column: value for column, value in equal.items() if value is not None},
        contains={} if alias is None else {"alias": alias},
        one_of=one_of,
    )


async def block(services: Services, call: Call[OneTeam, Nothing]) -> TeamView:
    return await _set_blocked(services, call, blocked=True)


async def unblock(services: Services, call: Call[OneTeam, Nothing]) -> TeamView:
    return await _set_blocked(services, call, blocked=False)


async def _set_blocked(services: Services, call: Call[OneTeam, Nothing], *, blocked: bool) -> TeamView:
    async with services.changes.make(call.caller) as change:
        record = await teams.update(change, call.body.team_id, TeamChanges(blocked=blocked))
    return await view(services, record)


async def add_models(services: Services, call: Call[TeamModels, Nothing]) -> TeamView:
    async with services.changes.make(call.caller) as change:
        team = await teams.get(change, call.body.team_id)
        wanted = list(dict.fromkeys([*team.settings.models, *call.body.models]))
        record = await teams.update(change, team.id, TeamChanges(models=wanted))
    return await view(services, record)


async def delete_models(services: Services, call: Call[TeamModels, Nothing]) -> TeamView:
    """Taking the last one away leaves none, and not all."""
    async with services.changes.make(call.caller) as change:
        team = await teams.get(change, call.body.team_id)
        wanted = [name for name in team.settings.models if name not in call.body.models]
        if team.settings.models and not wanted:
            wanted = ["no-default-models"]
        record = await teams.update(change, team.id, TeamChanges(models=wanted))
    return await view(services, record)


async def permissions(services: Services, call: Call[Nothing, TeamQuery]) -> PermissionsView:
    team = await _found(services, call.caller, call.query.team_id)
    return PermissionsView(
        team_id=team.id,
        team_member_permissions=list(team.member_permissions),
        all_available_permissions=list(MEMBER_ROUTES),
    )


async def update_permissions(services: Services, call: Call[TeamPermissions, Nothing]) -> TeamView:
    changes = TeamChanges(team_member_permissions=call.body.team_member_permissions)
    async with services.changes.make(call.caller) as change:
        record = await teams.update(change, call.body.team_id, changes)
    return await view(services, record)


async def _found(services: Services, caller: Caller, row_id: str) -> Team:
    return await found(services.database, caller.acting.reach(teams.READ), rows, row_id, "team_id")


async def view(services: Services, team: Team) -> TeamView:
    return (await views(services, [team]))[0]


async def views(services: Services, found_rows: Sequence[Team]) -> list[TeamView]:
    """Teams with their members."""
    joined = await members.of(services.database, "team", [team.id for team in found_rows])
    ids = [member.user_id for of_team in joined.values() for member in of_team]
    people = await users.many(services.database, EVERYWHERE, ids)
    emails = {user.id: user.email for user in people.values()}
    used = await spent(services, "team", found_rows)
    now = services.changes.now_us()
    return [TeamView(**_values(team, joined[team.id], emails, used[team.id], now)) for team in found_rows]


def _values(
    team: Team, joined: Sequence[Membership], emails: dict[str, str | None], used: int, now_us: int
) -> dict[str, Any]:
    default = team.member_settings
    return {
        "team_id": team.id,
        "team_alias": team.alias,
        "organization_id": team.org_id,
        "parent_team_id": team.parent_id,
        "blocked": team.blocked,
        "admins": [member.user_id for member in joined if member.role == "admin"],
        "members": [member.user_id for member in joined],
        "members_with_roles": [
            MemberView(
                user_id=member.user_id,
                user_email=emails.get(member.user_id),
                role=shown_name("team", member.role),
            )
            for member in joined
        ],
        "team_member_permissions": list(team.member_permissions),
        "default_team_member_models": list(default.models),
        "team_member_budget": usd_or_none(default.max_budget),
        "team_member_budget_duration": default.budget_duration,
        "team_member_rpm_limit": default.rpm_limit,
        "team_member_tpm_limit": default.tpm_limit,
        **holder_values(team.settings, used, now_us),
        **stamps(team),
    }


async def membership_views(services: Services, joined: Sequence[Membership]) -> list[MembershipView]:
    used = await spent(services, "member", joined)
    now = services.changes.now_us()
    return [
        MembershipView(
            user_id=member.user_id,
            team_id=member.holder_id,
            role=shown_name("team", member.role),
            budget_id=member.settings.budget_id,
            spend=Usd(max(used[member.id] - member.settings.spend_base, 0)),
            litellm_budget_table=BudgetView(
                allowed_models=list(member.settings.models), **limit_values(member.settings, now)
            ),
        )
        for member in joined
    ]
