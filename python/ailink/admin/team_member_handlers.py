"""Handlers of the members of teams."""

from __future__ import annotations

from typing import Any

import msgspec

from ailink.admin import members, teams
from ailink.admin.call import Call, Nothing
from ailink.admin.changes import Change
from ailink.admin.durations import instant
from ailink.admin.errors import ApiError, not_found
from ailink.admin.holders import found, require
from ailink.admin.money_fields import pico
from ailink.admin.services import Services
from ailink.admin.setting_fields import LimitFields, given, settings_of
from ailink.admin.spent import spent
from ailink.admin.team_fields import (
    AddResult,
    AddTeamMembers,
    BulkAdded,
    BulkAddTeamMembers,
    DeleteTeamMember,
    MembershipView,
    TeamMember,
    TeamView,
    TeamWithAdded,
    UpdatedMember,
    UpdateTeamMember,
)
from ailink.admin.team_handlers import membership_views, view
from ailink.identity.actor import Actor
from ailink.identity.roles import shown_name
from ailink.ledger.money import Usd, usd_or_none
from ailink.store.reach import EVERYWHERE
from ailink.store.settings import Settings
from ailink.store.tenancy import Membership, Team, User, memberships, users
from ailink.store.tenancy import teams as rows

WRITE = "members.write"
# Fields of the body that are settings under other names.
AMOUNTS = {"max_budget_in_team": "max_budget"}


class MemberSpend(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    user_id: str
    spend: Usd
    previous_spend: Usd
    max_budget: Usd | None


async def add(services: Services, call: Call[AddTeamMembers, Nothing]) -> TeamWithAdded:
    """All of them or none."""
    body = call.body
    wanted = body.member if isinstance(body.member, list) else [body.member]
    settings = Settings(
        max_budget=pico(body.max_budget_in_team, "max_budget_in_team"),
        budget_duration=body.budget_duration,
        models=tuple(body.allowed_models or ()),
    )
    added: list[Membership] = []
    people: list[User] = []
    async with services.changes.make(call.caller) as change:
        team = await _writable(change, body.team_id)
        for member in wanted:
            user, joined = await _join(change, team, member, settings)
            people.append(user)
            added.append(joined)
    shown = await view(services, team)
    return TeamWithAdded(
        **msgspec.structs.asdict(shown),
        updated_users=[{"user_id": user.id, "user_email": user.email} for user in people],
        updated_team_memberships=await membership_views(services, added),
    )


async def bulk_add(services: Services, call: Call[BulkAddTeamMembers, Nothing]) -> BulkAdded:
    """Each for himself: one who cannot be added does not keep the others out."""
    body = call.body
    settings = Settings(max_budget=pico(body.max_budget_in_team, "max_budget_in_team"))
    results: list[AddResult] = []
    async with services.changes.make(call.caller) as change:
        team = await _writable(change, body.team_id)
        for member in body.members:
            try:
                user, _ = await _join(change, team, member, settings)
                results.append(AddResult(user_id=user.id, user_email=user.email, success=True))
            except ApiError as error:
                results.append(
                    AddResult(
                        user_id=member.user_id, user_email=member.user_email, success=False, error=str(error)
                    )
                )
    done = sum(result.success for result in results)
    return BulkAdded(
        team_id=team.id,
        results=results,
        total_requested=len(results),
        successful_additions=done,
        failed_additions=len(results) - done,
        updated_team=await view(services, team),
    )


async def update(services: Services, call: Call[UpdateTeamMember, Nothing]) -> UpdatedMember:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        team = await _writable(change, body.team_id)
        before, user = await _member(change, actor, team, body)
        columns: dict[str, Any] = {"settings": _settings(body, before.settings)}
        if body.role is not None:
            columns["role"] = await members.checked_role(change.queries, actor, team, body.role)
        after = await change.update(memberships, before, **columns)
        if before.settings.models != after.settings.models:
            await change.touch_keys_of("user_id", [user.id])
    settings = after.settings
    expiry = settings.temp_budget_expiry_us
    return UpdatedMember(
        user_id=user.id,
        user_email=user.email,
        team_id=team.id,
        role=shown_name("team", after.role),
        max_budget_in_team=usd_or_none(settings.max_budget),
        tpm_limit=settings.tpm_limit,
        rpm_limit=settings.rpm_limit,
        limits=list(settings.limits),
        budget_duration=settings.budget_duration,
        allowed_models=list(settings.models),
        temp_budget_increase=usd_or_none(settings.temp_budget_increase),
        temp_budget_expiry=None if expiry is None else instant(expiry),
    )


async def delete(services: Services, call: Call[DeleteTeamMember, Nothing]) -> TeamView:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        team = await _writable(change, body.team_id)
        member, _ = await _member(change, actor, team, body)
        await members.remove(change, member)
    return await view(services, team)


async def me(services: Services, call: Call[Nothing, Nothing]) -> MembershipView:
    """The caller's own membership."""
    actor = call.caller.acting
    reach = actor.reach(teams.READ)
    team = await found(services.database, reach, rows, call.path["team_id"], "team_id")
    if actor.user_id is None:
        raise not_found("no such member", param="user_id", code="member_not_found")
    member = await members.get(services.database, team, actor.user_id)
    return (await membership_views(services, [member]))[0]


async def reset_spend(services: Services, call: Call[Nothing, Nothing]) -> MemberSpend:
    """What the member spent in the team so far counts against his budget there no more."""
    async with services.changes.make(call.caller) as change:
        team = await _writable(change, call.path["team_id"])
        require(call.caller.acting, "budgets.write", org=team.org_id)
        before = await members.get(change.queries, team, call.path["user_id"])
        used = (await spent(services, "member", [before]))[before.id]
        settings = msgspec.structs.replace(before.settings, spend_base=used, spend_since_us=change.now_us)
        await change.update(memberships, before, "reset_spend", settings=settings)
    return MemberSpend(
        team_id=team.id,
        user_id=before.user_id,
        spend=Usd(0),
        previous_spend=Usd(used - before.settings.spend_base),
        max_budget=usd_or_none(before.settings.max_budget),
    )


async def _writable(change: Change, team_id: str) -> Team:
    team = await teams.get(change, team_id)
    require(change.caller.acting, WRITE, org=team.org_id, team=team.id)
    return team


async def _join(
    change: Change, team: Team, member: TeamMember, settings: Settings
) -> tuple[User, Membership]:
    actor = change.caller.acting
    user = await members.member_user(change, actor, member, team.org_id)
    role = await members.checked_role(change.queries, actor, team, member.role)
    return user, await members.add(change, team, user, role, settings)


async def _member(change: Change, actor: Actor, team: Team, body: Any) -> tuple[Membership, User]:
    user = await members.named_user(change.queries, actor, body.user_id, body.user_email)
    if user is None and body.user_id is not None:
        # A user whose own row the caller does not see may still be a member of his team.
        user = await users.get(change.queries, EVERYWHERE, body.user_id)
    if user is None:
        raise not_found("no such member", param="user_id", code="member_not_found")
    return await members.get(change.queries, team, user.id), user


def _settings(body: UpdateTeamMember, before: Settings) -> Settings:
    fields = given(body)
    own = LimitFields(
        **{name: value for name, value in fields.items() if name in LimitFields.__struct_fields__}
    )
    new: dict[str, Any] = {
        column: pico(fields[field], field) for field, column in AMOUNTS.items() if field in fields
    }
    if "allowed_models" in fields:
        new["models"] = tuple(fields["allowed_models"] or ())
    return msgspec.structs.replace(settings_of(own, before), **new)
