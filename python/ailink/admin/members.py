"""Who is a member of an organization or a team: added, changed, removed, with what each may spend there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ailink.admin.changes import Change
from ailink.admin.errors import ApiError, bad_request, not_found
from ailink.admin.holders import new_id
from ailink.identity.actor import Actor
from ailink.identity.roles import PLACES, own_name, permissions_of
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.settings import Settings
from ailink.store.tenancy import (
    HolderKind,
    Membership,
    Organization,
    Team,
    User,
    custom_roles,
    membership_id,
    memberships,
    users,
)

NOTHING = Settings()


async def of(queries: Queries, kind: HolderKind, holder_ids: Sequence[str]) -> dict[str, list[Membership]]:
    """Holder → its members, in the order they came."""
    match = Match(equal={"kind": kind}, one_of={"holder_id": holder_ids})
    found: dict[str, list[Membership]] = {holder: [] for holder in holder_ids}
    for member in await memberships.find(queries, EVERYWHERE, match):
        found[member.holder_id].append(member)
    return {
        holder: sorted(rows, key=lambda row: (row.created_us, row.user_id)) for holder, rows in found.items()
    }


async def of_user(queries: Queries, user_id: str, kind: HolderKind) -> list[Membership]:
    return await memberships.find(queries, EVERYWHERE, Match(equal={"user_id": user_id, "kind": kind}))


async def add(
    change: Change, holder: Organization | Team, user: User, role: str, settings: Settings = NOTHING
) -> Membership:
    """A new member. Raises `ApiError` (400) for one who is a member already."""
    kind: HolderKind = "team" if isinstance(holder, Team) else "organization"
    member_id = membership_id(kind, holder.id, user.id)
    if await memberships.get(change.queries, EVERYWHERE, member_id) is not None:
        raise bad_request(
            f"user {user.id} is a member already", param="member", code=f"{kind}_member_already_in_{kind}"
        )
    record = Membership(
        id=member_id,
        org_id=holder.org_id,
        kind=kind,
        holder_id=holder.id,
        user_id=user.id,
        role=role,
        settings=settings,
        **change.stamps(),
    )
    await change.insert(memberships, record)
    await change.touch_keys_of("user_id", [user.id])
    return record


async def get(queries: Queries, holder: Organization | Team, user_id: str) -> Membership:
    kind: HolderKind = "team" if isinstance(holder, Team) else "organization"
    found = await memberships.get(queries, EVERYWHERE, membership_id(kind, holder.id, user_id))
    if found is None:
        raise not_found("no such member", param="user_id", code="member_not_found")
    return found


async def remove(change: Change, member: Membership) -> None:
    await change.remove(memberships, member)
    await change.touch_keys_of("user_id", [member.user_id])


async def checked_role(queries: Queries, actor: Actor, holder: Organization | Team, role: str) -> str:
    """Our name of a role that the caller may give: never one that grants more than he has there himself.
    Raises `ApiError` (400, 403).
    """
    kind = "team" if isinstance(holder, Team) else "organization"
    name = own_name(kind, role)
    granted = await _check_role(queries, kind, name, holder.org_id)
    held = actor.orgs.get(holder.org_id or "", frozenset()) | actor.platform
    held |= actor.teams.get(holder.id, frozenset()) if isinstance(holder, Team) else frozenset()
    if not granted <= held:
        raise ApiError(
            403,
            "You may not give a role that may do more than you.",
            type="permission_error",
            code="role_denied",
        )
    return name


async def _check_role(queries: Queries, kind: str, name: str, org_id: str | None) -> frozenset[str]:
    custom = {
        role.id: frozenset(role.permissions)
        for role in await custom_roles.find(queries, EVERYWHERE)
        if role.org_id in (None, org_id)
    }
    if name not in PLACES[kind][0] and name not in custom:
        known = ", ".join(sorted({*PLACES[kind][0], *PLACES[kind][1], *custom}))
        raise bad_request(
            f"{name!r} is no role of a {kind}; there are {known}", param="role", code="unknown_role"
        )
    return permissions_of(kind, name, custom)


async def member_user(change: Change, actor: Actor, wanted: Any, org_id: str | None) -> User:
    """The user that a body names by id or e-mail; the operator's callers may name a new one.

    Raises `ApiError` (400, 404).
    """
    user = await named_user(change.queries, actor, wanted.user_id, wanted.user_email)
    if user is not None:
        return user
    if not actor.may("users.write"):
        raise not_found("no such user", param="user_id", code="user_not_found")
    record = User(
        id=wanted.user_id or new_id("user"),
        org_id=org_id,
        email=(wanted.user_email or "").lower() or None,
        role="member",
        **change.stamps(),
    )
    return await change.insert(users, record)


async def named_user(queries: Queries, actor: Actor, user_id: str | None, email: str | None) -> User | None:
    """The visible user of this id or e-mail. Raises `ApiError` (400) when neither is given."""
    if user_id is None and email is None:
        raise bad_request("say which user: `user_id` or `user_email`", param="user_id")
    reach = actor.reach("users.read")
    if user_id is not None:
        return await users.get(queries, reach, user_id)
    rows = await users.find(queries, reach, Match(equal={"email": (email or "").lower()}))
    return rows[0] if rows else None
