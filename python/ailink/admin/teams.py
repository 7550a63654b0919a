"""Teams: made, changed, moved below another, deleted with all that is theirs, restored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from ailink.admin import members
from ailink.admin.changes import Change
from ailink.admin.errors import bad_request, not_found
from ailink.admin.holders import (
    below,
    check_budget,
    found,
    guard_limits,
    in_use,
    new_id,
    place_of,
    reach,
    require,
)
from ailink.admin.key_access import check_models
from ailink.admin.key_owner import MEMBER_ROUTES
from ailink.admin.keys import KeyService
from ailink.admin.lineage import DEEPEST
from ailink.admin.money_fields import pico
from ailink.admin.returns import members_return, require_above
from ailink.admin.setting_fields import given, settings_of
from ailink.admin.team_fields import NewTeam, TeamChanges
from ailink.identity.actor import Actor
from ailink.store import archive, keys
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.settings import Settings
from ailink.store.tenancy import Project, Team, memberships, organizations, projects, teams, users

READ, WRITE = "teams.read", "teams.write"
MEMBER_FIELDS = {
    "team_member_budget_duration": "budget_duration",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
}


async def create(change: Change, body: NewTeam) -> Team:
    """Raises `ApiError` (400, 403, 404)."""
    caller, actor = change.caller, change.caller.acting
    fields = given(body)
    parent = await _parent(change, actor, fields.get("parent_team_id"))
    org_id = fields.get("organization_id") or (parent.org_id if parent else None)
    org_id = await place_of(change.queries, caller, org_id)
    if org_id is not None:
        await found(
            change.queries, actor.reach("organizations.read"), organizations, org_id, "organization_id"
        )
    if parent is not None and parent.org_id != org_id:
        raise bad_request("the team above belongs to another organization", param="parent_team_id")
    require(actor, WRITE, org=org_id, team=parent.id if parent else None)
    settings = settings_of(body)
    await check_budget(change.queries, actor, settings)
    record = Team(
        id=body.team_id or new_id("team"),
        org_id=org_id,
        parent_id=parent.id if parent else None,
        alias=fields.get("team_alias"),
        blocked=bool(fields.get("blocked", False)),
        settings=settings,
        member_settings=_member_settings(fields, Settings()),
        member_permissions=_member_routes(fields.get("team_member_permissions") or ()),
        **change.stamps(),
    )
    await change.insert(teams, record)
    await _first_members(change, actor, record, body)
    return record


async def _first_members(change: Change, actor: Actor, team: Team, body: NewTeam) -> None:
    wanted = dict.fromkeys(body.admins, "admin") | dict.fromkeys(body.members, "user")
    joined: set[str] = set()
    for member in body.members_with_roles:
        user = await members.member_user(change, actor, member, team.org_id)
        role = await members.checked_role(change.queries, actor, team, member.role)
        await members.add(change, team, user, role)
        joined.add(user.id)
    for user_id, role in wanted.items():
        if user_id not in joined:
            user = await found(change.queries, actor.reach("users.read"), users, user_id, "members")
            await members.add(change, team, user, "admin" if role == "admin" else "member")
            joined.add(user_id)
    # Whoever makes a team by a role in it only (none above) could not reach it afterwards.
    if actor.user_id is not None and not actor.may(WRITE, org=team.org_id) and actor.user_id not in joined:
        user = await found(change.queries, EVERYWHERE, users, actor.user_id, "members")
        await members.add(change, team, user, "admin")


async def update(change: Change, row_id: str, body: TeamChanges) -> Team:
    """Raises `ApiError` (400, 403, 404, 412)."""
    actor = change.caller.acting
    before = await get(change, row_id)
    require(actor, WRITE, org=before.org_id, team=row_id)
    guard_limits(actor, body, org=before.org_id, parent=before.parent_id)
    fields = given(body)
    settings = settings_of(body, before.settings)
    await check_budget(change.queries, actor, settings)
    columns: dict[str, Any] = {
        "settings": settings,
        "member_settings": _member_settings(fields, before.member_settings),
    }
    if "team_alias" in fields:
        columns["alias"] = fields["team_alias"]
    if "blocked" in fields:
        columns["blocked"] = bool(fields["blocked"])
    if "team_member_permissions" in fields:
        columns["member_permissions"] = _member_routes(fields["team_member_permissions"] or ())
    columns |= await _moved(change, actor, before, fields)
    after = await change.update(teams, before, **columns)
    if after.member_settings != before.member_settings:
        for member in (await members.of(change.queries, "team", [row_id]))[row_id]:
            change.touch_subject("member", member.id)
    if _access(before) != _access(after):
        affected = await below(change.queries, [row_id])
        await change.touch_keys_of("team_id", affected)
    return after


async def _moved(change: Change, actor: Actor, before: Team, fields: dict[str, Any]) -> dict[str, Any]:
    """Another place in the tree, or another organization; keys and projects go along."""
    columns: dict[str, Any] = {}
    if "parent_team_id" in fields and fields["parent_team_id"] != before.parent_id:
        parent = await _parent(change, actor, fields["parent_team_id"])
        require(actor, WRITE, org=before.org_id, team=parent.id if parent else None)
        if parent is not None:
            if parent.org_id != before.org_id:
                raise bad_request("the team above belongs to another organization", param="parent_team_id")
            await _refuse_cycle(change, before.id, parent)
        columns["parent_id"] = None if parent is None else parent.id
    wanted = fields.get("organization_id", UNSET)
    if wanted is not UNSET and wanted != before.org_id:
        columns["org_id"] = await _to_organization(change, actor, before, wanted)
    return columns


async def _to_organization(change: Change, actor: Actor, before: Team, org_id: str | None) -> str | None:
    require(actor, "organizations.write", org=before.org_id)
    require(actor, "organizations.write", org=org_id)
    if org_id is not None:
        await found(
            change.queries, actor.reach("organizations.read"), organizations, org_id, "organization_id"
        )
    children = await teams.count(change.queries, EVERYWHERE, Match(equal={"parent_id": before.id}))
    if before.parent_id is not None or children:
        raise bad_request("a team of a tree stays in its organization", param="organization_id")
    for project in await projects.find(change.queries, EVERYWHERE, Match(equal={"team_id": before.id})):
        await change.update(projects, project, "move", org_id=org_id)
    for member in (await members.of(change.queries, "team", [before.id]))[before.id]:
        await change.update(memberships, member, "move", org_id=org_id)
    for record in await change.touch_keys_of("team_id", [before.id]):
        await keys.update(change.queries, msgspec.structs.replace(record, org_id=org_id))
    return org_id


async def delete(change: Change, service: KeyService, row_ids: Sequence[str]) -> tuple[list[Team], int]:
    """Teams with their keys, projects and memberships; how many keys. A team with teams below it that stay is
    in use. Raises `ApiError` (403, 404, 409).
    """
    actor = change.caller.acting
    wanted = list(dict.fromkeys(row_ids))
    rows = [await get(change, row_id, "team_ids") for row_id in wanted]
    gone = 0
    for record in rows:
        require(
            actor, WRITE, org=record.org_id, team=record.parent_id or (None if record.org_id else record.id)
        )
        children = await teams.find(change.queries, EVERYWHERE, Match(equal={"parent_id": record.id}))
        staying = [f"team {child.id}" for child in children if child.id not in wanted]
        if staying:
            raise in_use("team", staying)
    for record in rows:
        found_keys = await keys.of(change.queries, "team_id", [record.id])
        await service.delete_in(change, found_keys)
        joined = (await members.of(change.queries, "team", [record.id]))[record.id]
        for member in joined:
            await change.remove(memberships, member)
        inside = await projects.find(change.queries, EVERYWHERE, Match(equal={"team_id": record.id}))
        for project in inside:
            await change.remove(projects, project)
        await change.remove(
            teams,
            record,
            {
                "members": [msgspec.to_builtins(row) for row in joined],
                "projects": [msgspec.to_builtins(row) for row in inside],
                "keys": [row.id for row in found_keys],
            },
        )
        gone += len(found_keys)
    return rows, gone


async def restore(change: Change, service: KeyService, row_id: str) -> Team:
    """Takes back the newest delete of this id. Raises `ApiError` (403, 404, 409)."""
    actor = change.caller.acting
    kept = await archive.newest(change.queries, actor.reach(READ), "team", row_id)
    if kept is None:
        raise not_found("no such team was deleted", param="team_id", code="team_not_found")
    record = msgspec.convert(kept.record["row"], Team)
    require(actor, WRITE, org=record.org_id, team=record.parent_id)
    await require_above(change.queries, record)
    await change.insert(teams, record, "restore")
    await members_return(change, kept.record["members"])
    for row in kept.record["projects"]:
        project = msgspec.convert(row, Project)
        await require_above(change.queries, project)
        await change.insert(projects, project, "restore")
    await service.restore_in(change, kept.record["keys"])
    await archive.forget(change.queries, kept)
    return record


async def get(change: Change, row_id: str, param: str = "team_id") -> Team:
    return await found(change.queries, change.caller.acting.reach(READ), teams, row_id, param)


async def _parent(change: Change, actor: Actor, row_id: str | None) -> Team | None:
    if row_id is None:
        return None
    return await found(change.queries, actor.reach(READ), teams, row_id, "parent_team_id")


async def _refuse_cycle(change: Change, row_id: str, parent: Team) -> None:
    above: Team | None = parent
    for _ in range(DEEPEST):
        if above is None:
            return
        if above.id == row_id:
            raise bad_request("a team cannot stand below itself", param="parent_team_id", code="team_cycle")
        above = (
            None if above.parent_id is None else await teams.get(change.queries, EVERYWHERE, above.parent_id)
        )
    raise bad_request(f"teams are nested at most {DEEPEST} deep", param="parent_team_id")


def _member_settings(fields: dict[str, Any], before: Settings) -> Settings:
    new: dict[str, Any] = {
        column: fields[field] for field, column in MEMBER_FIELDS.items() if field in fields
    }
    if "team_member_budget" in fields:
        new["max_budget"] = pico(fields["team_member_budget"], "team_member_budget")
    if "default_team_member_models" in fields:
        new["models"] = tuple(fields["default_team_member_models"] or ())
        check_models(new["models"])
    return msgspec.structs.replace(before, **new)


def _member_routes(routes: Sequence[str]) -> tuple[str, ...]:
    unknown = [route for route in routes if route not in MEMBER_ROUTES]
    if unknown:
        raise bad_request(
            f"{unknown[0]!r} is no permission of members; there are {', '.join(MEMBER_ROUTES)}",
            param="team_member_permissions",
        )
    return tuple(dict.fromkeys(routes))


def _access(team: Team) -> tuple[Any, ...]:
    """What the rows of the team's keys depend on."""
    own, member = team.settings, team.member_settings
    return *reach(own), member.models, team.parent_id, team.org_id
