"""Handlers of `/organization/*`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from ailink.admin import members
from ailink.admin.call import Call, Caller, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.errors import not_found
from ailink.admin.holders import (
    check_budget,
    found,
    guard_limits,
    in_use,
    new_id,
    require,
    touch_models,
)
from ailink.admin.money_fields import pico
from ailink.admin.organization_fields import (
    AddedOrganizationMembers,
    AddOrganizationMembers,
    DeleteOrganizationMember,
    DeleteOrganizations,
    MemberRemoved,
    NewOrganization,
    OrganizationChanges,
    OrganizationList,
    OrganizationMemberView,
    OrganizationQuery,
    OrganizationsInfo,
    OrganizationView,
    UpdateOrganization,
    UpdateOrganizationMember,
)
from ailink.admin.services import Services
from ailink.admin.setting_fields import BudgetView, holder_values, limit_values, settings_of, stamps
from ailink.admin.spent import spent
from ailink.identity.roles import shown_name
from ailink.ledger.money import Usd
from ailink.store import keys
from ailink.store.keys import KeyFilter
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.settings import Settings
from ailink.store.tenancy import Membership, Organization, memberships, organizations, teams, users

READ, WRITE = "organizations.read", "organizations.write"


async def new(services: Services, call: Call[NewOrganization, Nothing]) -> OrganizationView:
    """Only the operator's callers make organizations."""
    body, actor = call.body, call.caller.acting
    require(actor, WRITE)
    async with services.changes.make(call.caller) as change:
        settings = settings_of(body)
        await check_budget(change.queries, actor, settings)
        row_id = body.organization_id or new_id("org")
        record = Organization(
            id=row_id,
            org_id=row_id,
            alias=body.organization_alias,
            blocked=bool(body.blocked) if body.blocked is not UNSET else False,
            settings=settings,
            **change.stamps(),
        )
        await change.insert(organizations, record)
    return (await views(services, [record]))[0]


async def info(services: Services, call: Call[Nothing, OrganizationQuery]) -> Tagged[OrganizationView]:
    record = await _found(services, call.caller, call.query.organization_id)
    return Tagged((await views(services, [record]))[0], etag(record.version))


async def info_of_many(services: Services, call: Call[OrganizationsInfo, Nothing]) -> list[OrganizationView]:
    rows = [
        await _found(services, call.caller, row_id, "organizations") for row_id in call.body.organizations
    ]
    return await views(services, rows)


async def list_organizations(
    services: Services, call: Call[Nothing, OrganizationList]
) -> list[OrganizationView]:
    query = call.query
    match = Match(
        equal={} if query.org_id is None else {"id": query.org_id},
        contains={} if query.org_alias is None else {"alias": query.org_alias},
    )
    rows = await organizations.find(services.database, call.caller.acting.reach(READ), match)
    return await views(services, rows)


async def update(services: Services, call: Call[UpdateOrganization, Nothing]) -> OrganizationView:
    return await change_organization(services, call.caller, call.body.organization_id, call.body)


async def update_named(services: Services, call: Call[OrganizationChanges, Nothing]) -> OrganizationView:
    return await change_organization(services, call.caller, call.path["organization_id"], call.body)


async def change_organization(
    services: Services, caller: Caller, row_id: str, body: OrganizationChanges
) -> OrganizationView:
    """Raises `ApiError` (400, 403, 404, 412)."""
    actor = caller.acting
    async with services.changes.make(caller) as change:
        before = await found(change.queries, actor.reach(READ), organizations, row_id, "organization_id")
        require(actor, WRITE, org=row_id)
        # The budget of an organization is set above it: by the operator.
        guard_limits(actor, body, org=None)
        settings = settings_of(body, before.settings)
        await check_budget(change.queries, actor, settings)
        columns: dict[str, Any] = {"settings": settings}
        if body.organization_alias is not UNSET:
            columns["alias"] = body.organization_alias
        if body.blocked is not UNSET:
            columns["blocked"] = bool(body.blocked)
        after = await change.update(organizations, before, **columns)
        await touch_models(change, before.settings, settings, "org_id", [row_id])
    return (await views(services, [after]))[0]


async def delete(services: Services, call: Call[DeleteOrganizations, Nothing]) -> list[OrganizationView]:
    """An organization that still has teams or keys is not deleted."""
    actor = call.caller.acting
    rows = [
        await _found(services, call.caller, row_id, "organization_ids")
        for row_id in call.body.organization_ids
    ]
    for record in rows:
        require(actor, WRITE, org=record.id)
    shown = await views(services, rows)
    async with services.changes.make(call.caller) as change:
        for record in {row.id: row for row in rows}.values():
            living = await teams.find(change.queries, EVERYWHERE, Match(equal={"org_id": record.id}))
            using = [f"team {team.id}" for team in living]
            count = await keys.count(change.queries, KeyFilter(org_id=record.id))
            using += [f"{count} keys"] if count else []
            if using:
                raise in_use("organization", using)
            joined = (await members.of(change.queries, "organization", [record.id]))[record.id]
            for member in joined:
                await members.remove(change, member)
            await change.remove(
                organizations, record, {"members": [msgspec.to_builtins(row) for row in joined]}
            )
    return shown


async def add_members(
    services: Services, call: Call[AddOrganizationMembers, Nothing]
) -> AddedOrganizationMembers:
    body, actor = call.body, call.caller.acting
    wanted = body.member if isinstance(body.member, list) else [body.member]
    settings = Settings(max_budget=pico(body.max_budget_in_organization, "max_budget_in_organization"))
    added: list[Membership] = []
    async with services.changes.make(call.caller) as change:
        holder = await found(
            change.queries, actor.reach(READ), organizations, body.organization_id, "organization_id"
        )
        require(actor, "members.write", org=holder.id)
        for member in wanted:
            role = await members.checked_role(change.queries, actor, holder, member.role)
            user = await members.member_user(change, actor, member, holder.id)
            added.append(await members.add(change, holder, user, role, settings))
    shown = await member_views(services, added)
    return AddedOrganizationMembers(
        organization_id=body.organization_id,
        updated_users=[{"user_id": view.user_id, "user_email": view.user_email} for view in shown],
        updated_organization_memberships=shown,
    )


async def update_member(
    services: Services, call: Call[UpdateOrganizationMember, Nothing]
) -> OrganizationMemberView:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        holder = await found(
            change.queries, actor.reach(READ), organizations, body.organization_id, "organization_id"
        )
        require(actor, "members.write", org=holder.id)
        before = await _member(change.queries, actor, holder, body)
        columns: dict[str, Any] = {}
        if body.role is not None:
            columns["role"] = await members.checked_role(change.queries, actor, holder, body.role)
        if body.max_budget_in_organization is not UNSET:
            most = pico(body.max_budget_in_organization, "max_budget_in_organization")
            columns["settings"] = msgspec.structs.replace(before.settings, max_budget=most)
        after = await change.update(memberships, before, **columns)
    return (await member_views(services, [after]))[0]


async def delete_member(services: Services, call: Call[DeleteOrganizationMember, Nothing]) -> MemberRemoved:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        holder = await found(
            change.queries, actor.reach(READ), organizations, body.organization_id, "organization_id"
        )
        require(actor, "members.write", org=holder.id)
        member = await _member(change.queries, actor, holder, body)
        await members.remove(change, member)
    return MemberRemoved(user_id=member.user_id, organization_id=holder.id)


async def _member(queries: Any, actor: Any, holder: Organization, body: Any) -> Membership:
    user = await members.named_user(queries, actor, body.user_id, body.user_email)
    if user is None:
        raise not_found("no such member", param="user_id", code="member_not_found")
    return await members.get(queries, holder, user.id)


async def _found(
    services: Services, caller: Caller, row_id: str, param: str = "organization_id"
) -> Organization:
    return await found(services.database, caller.acting.reach(READ), organizations, row_id, param)


async def views(services: Services, rows: Sequence[Organization]) -> list[OrganizationView]:
    """Organizations with their members and teams."""
    ids = [row.id for row in rows]
    used = await spent(services, "organization", rows)
    now = services.changes.now_us()
    joined = await members.of(services.database, "organization", ids)
    shown = {holder: await member_views(services, found_) for holder, found_ in joined.items()}
    below = await teams.find(services.database, EVERYWHERE, Match(one_of={"org_id": ids}))
    return [
        OrganizationView(
            organization_id=row.id,
            organization_alias=row.alias,
            blocked=row.blocked,
            litellm_budget_table=BudgetView(
                budget_id=row.settings.budget_id, **limit_values(row.settings, now)
            ),
            members=shown[row.id],
            teams=[{"team_id": team.id, "team_alias": team.alias} for team in below if team.org_id == row.id],
            **holder_values(row.settings, used[row.id], now),
            **stamps(row),
        )
        for row in rows
    ]


async def member_views(services: Services, rows: Sequence[Membership]) -> list[OrganizationMemberView]:
    people = await users.many(services.database, EVERYWHERE, [row.user_id for row in rows])
    used = await spent(services, "member", rows)
    now = services.changes.now_us()
    return [
        OrganizationMemberView(
            user_id=row.user_id,
            organization_id=row.holder_id,
            user_role=shown_name("organization", row.role),
            spend=Usd(used[row.id]),
            budget_id=row.settings.budget_id,
            user_email=people[row.user_id].email if row.user_id in people else None,
            litellm_budget_table=BudgetView(**limit_values(row.settings, now)),
            created_at=stamps(row)["created_at"],
            updated_at=stamps(row)["updated_at"],
        )
        for row in rows
    ]
