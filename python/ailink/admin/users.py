"""Users: made, changed, deleted with their keys; nobody gives a role that may do more than himself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin import members
from ailink.admin.changes import Change
from ailink.admin.errors import bad_request, forbidden, not_found
from ailink.admin.holders import check_budget, found, guard_limits, new_id, place_of, reach, require
from ailink.admin.keys import KeyService
from ailink.admin.money_fields import pico
from ailink.admin.returns import members_return, require_above
from ailink.admin.setting_fields import LIMITING, given, settings_of
from ailink.admin.user_fields import NewUser, UserChanges, UserTeam
from ailink.identity.actor import Actor, actor_of_user
from ailink.identity.roles import PLATFORM_NAMES, PLATFORM_ROLES, own_name, permissions_of
from ailink.store import archive, keys
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE, Reach
from ailink.store.rows import Match
from ailink.store.settings import Settings
from ailink.store.tenancy import (
    User,
    custom_roles,
    memberships,
    organizations,
    teams,
    users,
)

READ, WRITE = "users.read", "users.write"
# What a user may change about himself.
OWN_FIELDS = frozenset({"user_id", "user_alias", "metadata"})
PLAIN = {"user_email": "email", "user_alias": "alias", "sso_user_id": "sso_id"}


async def create(change: Change, body: NewUser) -> User:
    """Raises `ApiError` (400, 403, 404, 409)."""
    actor = change.caller.acting
    named = body.organizations or []
    org_id = await place_of(change.queries, change.caller, named[0] if named else None)
    _require_org(actor, org_id)
    holders = [
        await found(change.queries, actor.reach("organizations.read"), organizations, row_id, "organizations")
        for row_id in dict.fromkeys([*([org_id] if org_id else []), *named])
    ]
    for holder in holders:
        require(actor, "members.write", org=holder.id)
    guard_limits(actor, body, org=org_id)
    settings = settings_of(body)
    await check_budget(change.queries, actor, settings)
    fields = given(body)
    record = User(
        id=body.user_id or new_id("user"),
        org_id=org_id,
        email=_lower(fields.get("user_email")),
        alias=fields.get("user_alias"),
        sso_id=fields.get("sso_user_id"),
        role=await _role(change.queries, actor, fields.get("user_role") or "internal_user"),
        blocked=bool(fields.get("blocked", False)),
        settings=settings,
        **change.stamps(),
    )
    await change.insert(users, record)
    for holder in holders:
        await members.add(change, holder, record, "member")
    await _join_teams(change, actor, record, body)
    return record


def _require_org(actor: Actor, org_id: str | None) -> None:
    # What a caller may do with himself is no leave to make others.
    require(actor, WRITE, org=org_id)


async def _join_teams(change: Change, actor: Actor, user: User, body: NewUser) -> None:
    wanted = [team if isinstance(team, UserTeam) else UserTeam(team_id=team) for team in body.teams or ()]
    if body.team_id is not None and all(team.team_id != body.team_id for team in wanted):
        wanted.append(UserTeam(team_id=body.team_id))
    for entry in wanted:
        team = await found(change.queries, actor.reach("teams.read"), teams, entry.team_id, "teams")
        require(actor, "members.write", org=team.org_id, team=team.id)
        settings = Settings(max_budget=pico(entry.max_budget_in_team, "teams.max_budget_in_team"))
        role = await members.checked_role(change.queries, actor, team, entry.user_role)
        await members.add(change, team, user, role, settings)


async def update(change: Change, service: KeyService, user_id: str | None, body: UserChanges) -> User:
    """Raises `ApiError` (400, 403, 404, 409, 412)."""
    actor = change.caller.acting
    fields = given(body)
    email = fields.get("user_email")
    before = await members.named_user(change.queries, actor, user_id, None if user_id else email)
    if before is None:
        raise not_found("no such user", param="user_id", code="user_not_found")
    await _require_change(change.queries, actor, before, fields)
    settings = settings_of(body, before.settings)
    await check_budget(change.queries, actor, settings)
    columns: dict[str, Any] = {"settings": settings}
    columns |= {column: fields[field] for field, column in PLAIN.items() if field in fields}
    if "email" in columns:
        columns["email"] = _lower(columns["email"])
    if "blocked" in fields:
        columns["blocked"] = bool(fields["blocked"])
    if "user_role" in fields:
        columns["role"] = await _role(change.queries, actor, fields["user_role"] or "internal_user")
    after = await change.update(users, before, **columns)
    if reach(before.settings) != reach(settings):
        await change.touch_keys_of("user_id", [after.id])
    return after


async def _require_change(queries: Queries, actor: Actor, before: User, fields: dict[str, Any]) -> None:
    if may_write(actor, before):
        # Who may do less than this user may not take him over.
        if before.id != actor.user_id and not actor.covers(await actor_of_user(queries, before)):
            raise forbidden("This user may do more than you.", code="user_denied")
        if LIMITING & fields.keys() and not actor.may("budgets.write", org=before.org_id):
            raise forbidden("Limits of users need the permission `budgets.write`.", code="limits_denied")
        return
    if before.id != actor.user_id or "users.write" not in actor.own:
        raise forbidden("You may not change this user.", code="user_denied")
    beyond = sorted(fields.keys() - OWN_FIELDS)
    if beyond:
        raise forbidden(f"You may not change your own `{beyond[0]}`.", code="user_denied")


def may_write(actor: Actor, user: User) -> bool:
    return actor.may(WRITE, org=user.org_id)


async def delete(change: Change, service: KeyService, user_ids: Sequence[str]) -> int:
    """Users with their own keys and memberships; keys of teams stay with the team. Raises `ApiError` (403,
    404).
    """
    actor = change.caller.acting
    for user_id in dict.fromkeys(user_ids):
        user = await found(change.queries, actor.reach(READ), users, user_id, "user_ids")
        if not may_write(actor, user) or not actor.covers(await actor_of_user(change.queries, user)):
            raise forbidden("You may not delete this user.", code="user_denied")
        found_keys = await keys.of(change.queries, "user_id", [user_id])
        own = [record for record in found_keys if record.team_id is None]
        await service.delete_in(change, own)
        for record in found_keys:
            if record.team_id is not None:
                # They survive whoever they were made for, and act for nobody.
                left = msgspec.structs.replace(record, user_id=None, acts_as_user=False)
                await keys.update(change.queries, left)
                change.touch([record.id])
        joined = await memberships.find(change.queries, EVERYWHERE, Match(equal={"user_id": user_id}))
        for member in joined:
            await change.remove(memberships, member)
        kept = {"members": [msgspec.to_builtins(row) for row in joined], "keys": [row.id for row in own]}
        await change.remove(users, user, kept)
    return len(dict.fromkeys(user_ids))


async def restore(change: Change, service: KeyService, user_id: str) -> User:
    """Takes back the newest delete of this id. Raises `ApiError` (403, 404, 409)."""
    actor = change.caller.acting
    reach = actor.reach(WRITE)
    kept = await archive.newest(
        change.queries, Reach(everywhere=reach.everywhere, orgs=reach.orgs), "app_user", user_id
    )
    if kept is None:
        raise not_found("no such user was deleted", param="user_id", code="user_not_found")
    record = msgspec.convert(kept.record["row"], User)
    await require_above(change.queries, record)
    await change.insert(users, record, "restore")
    await members_return(change, kept.record["members"])
    if not actor.covers(await actor_of_user(change.queries, record)):
        raise forbidden("This user may do more than you.", code="user_denied")
    await service.restore_in(change, kept.record["keys"])
    await archive.forget(change.queries, kept)
    return record


async def _role(queries: Queries, actor: Actor, role: str) -> str:
    """Our name of a role over the gateway that the caller may give."""
    name = own_name("platform", role)
    custom = {
        row.id: frozenset(row.permissions)
        for row in await custom_roles.find(queries, EVERYWHERE)
        if row.org_id is None
    }
    if name not in PLATFORM_ROLES and name not in custom:
        known = ", ".join(sorted({*PLATFORM_ROLES, *PLATFORM_NAMES, *custom}))
        raise bad_request(f"{role!r} is no role; there are {known}", param="user_role", code="unknown_role")
    if not permissions_of("platform", name, custom) <= actor.platform:
        raise forbidden("You may not give a role that may do more than you.", code="role_denied")
    return name


def _lower(email: str | None) -> str | None:
    # Mailboxes differ in case only on paper; two users of one mailbox would share an identity.
    return None if email is None else email.lower()
