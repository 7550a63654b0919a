"""Roles: what there is, and custom ones as rows."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request, forbidden
from ailink.admin.holders import found, in_use, new_id, place_of, require
from ailink.admin.services import Services
from ailink.admin.setting_fields import Name, Request
from ailink.identity.actor import Actor
from ailink.identity.roles import PERMISSIONS, PLACES, PLATFORM_ONLY
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.tenancy import CustomRole, custom_roles, memberships, organizations, users

READ, WRITE = "roles.read", "roles.write"
Permission = Annotated[str, Meta(max_length=64)]


class NewRole(Request, frozen=True, kw_only=True):
    name: Name
    permissions: Annotated[list[Permission], Meta(max_length=100)]
    organization_id: Name | None = None


class RoleChanges(Request, frozen=True, kw_only=True):
    permissions: Annotated[list[Permission], Meta(max_length=100)]


class RoleRow(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is what users and memberships name. Built-in roles have no organization and cannot be changed."""

    id: str
    name: str
    place: str
    organization_id: str | None
    built_in: bool
    permissions: list[str]


class RoleList(msgspec.Struct, frozen=True, kw_only=True):
    roles: list[RoleRow]
    all_permissions: list[str]


async def list_roles(services: Services, call: Call[Nothing, Nothing]) -> RoleList:
    found_rows = [
        RoleRow(
            id=name, name=name, place=place, organization_id=None, built_in=True, permissions=sorted(granted)
        )
        for place, (roles, _) in PLACES.items()
        for name, granted in roles.items()
    ]
    rows = await custom_roles.find(services.database, call.caller.acting.reach(READ))
    return RoleList(roles=[*found_rows, *map(_view, rows)], all_permissions=sorted(PERMISSIONS))


async def new(services: Services, call: Call[NewRole, Nothing]) -> RoleRow:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        org_id = await place_of(change.queries, call.caller, body.organization_id)
        if org_id is not None:
            reach = actor.reach("organizations.read")
            await found(change.queries, reach, organizations, org_id, "organization_id")
        require(actor, WRITE, org=org_id)
        record = CustomRole(
            id=new_id("role"),
            org_id=org_id,
            name=body.name,
            permissions=_checked(actor, body.permissions, org_id),
            **change.stamps(),
        )
        await change.insert(custom_roles, record)
    return _view(record)


async def update(services: Services, call: Call[RoleChanges, Nothing]) -> RoleRow:
    actor = call.caller.acting
    async with services.changes.make(call.caller) as change:
        before = await found(change.queries, actor.reach(READ), custom_roles, call.path["role_id"], "role_id")
        require(actor, WRITE, org=before.org_id)
        granted = _checked(actor, call.body.permissions, before.org_id)
        after = await change.update(custom_roles, before, permissions=granted)
    return _view(after)


async def delete(services: Services, call: Call[Nothing, Nothing]) -> RoleRow:
    """A role that somebody has is not deleted."""
    actor = call.caller.acting
    async with services.changes.make(call.caller) as change:
        record = await found(change.queries, actor.reach(READ), custom_roles, call.path["role_id"], "role_id")
        require(actor, WRITE, org=record.org_id)
        match = Match(equal={"role": record.id})
        using = [f"user {user.id}" for user in await users.find(change.queries, EVERYWHERE, match)]
        using += [
            f"member {member.user_id} of {member.kind} {member.holder_id}"
            for member in await memberships.find(change.queries, EVERYWHERE, match)
        ]
        if using:
            raise in_use("role", using)
        await change.remove(custom_roles, record)
    return _view(record)


def _checked(actor: Actor, permissions: list[str], org_id: str | None) -> tuple[str, ...]:
    """Nobody puts into a role what he may not do himself."""
    unknown = sorted(set(permissions) - PERMISSIONS)
    if unknown:
        raise bad_request(f"{unknown[0]!r} is no permission", param="permissions", code="unknown_permission")
    if org_id is not None and PLATFORM_ONLY & set(permissions):
        raise bad_request(
            f"{min(PLATFORM_ONLY & set(permissions))!r} is about the whole gateway", param="permissions"
        )
    beyond = sorted(permission for permission in permissions if not actor.may(permission, org=org_id))
    if beyond:
        raise forbidden(f"You do not hold `{beyond[0]}` there yourself.", code="role_denied")
    return tuple(sorted(set(permissions)))


def _view(record: CustomRole) -> RoleRow:
    return RoleRow(
        id=record.id,
        name=record.name,
        place="any",
        organization_id=record.org_id,
        built_in=False,
        permissions=list(record.permissions),
    )
