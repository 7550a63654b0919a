"""Handlers of `/user/*`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin import key_handlers, members, team_handlers, users
from ailink.admin.call import Call, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.errors import ApiError, not_found
from ailink.admin.holders import found, pages
from ailink.admin.key_fields import GenerateKey
from ailink.admin.key_owner import visible
from ailink.admin.services import Services
from ailink.admin.setting_fields import holder_values, stamps
from ailink.admin.spent import spent
from ailink.admin.user_fields import (
    BulkUpdatedUsers,
    BulkUpdateUsers,
    DeleteUsers,
    ListedUser,
    NewUser,
    NewUserView,
    Roles,
    RoleView,
    UpdatedUser,
    UpdateUser,
    UserInfoView,
    UserListQuery,
    UserListView,
    UserQuery,
    UserResult,
    UserView,
)
from ailink.identity.roles import PLATFORM_ROLES, shown_name
from ailink.store import keys
from ailink.store.keys import KeyFilter, KeyRecord
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match, Sort
from ailink.store.tenancy import User, memberships
from ailink.store.tenancy import teams as team_rows
from ailink.store.tenancy import users as rows

SORTS = {
    "user_id": "id",
    "user_email": "email",
    "created_at": "created_us",
    "user_role": "role",
    "user_alias": "alias",
}
DESCRIPTIONS = {
    "proxy_admin": ("Admin", "May do everything on the gateway."),
    "proxy_admin_viewer": ("Admin (view only)", "Sees everything, changes nothing."),
    "internal_user": ("User", "Makes, sees and deletes keys of his own."),
    "internal_user_viewer": ("User (view only)", "Sees his own keys and spend."),
    "owner": ("Owner", "May do everything on the gateway."),
    "billing": ("Billing", "Sees spend, sets budgets."),
    "viewer": ("Viewer", "Sees everything but spend and audit."),
}


async def new(services: Services, call: Call[NewUser, Nothing]) -> NewUserView:
    body = call.body
    made: tuple[str, KeyRecord] | None = None
    async with services.changes.make(call.caller) as change:
        record = await users.create(change, body)
        if body.auto_create_key:
            wanted = GenerateKey(
                user_id=record.id,
                team_id=body.team_id if body.team_id is not None else msgspec.UNSET,
                key_alias=body.key_alias if body.key_alias is not None else msgspec.UNSET,
                duration=body.duration if body.duration is not None else msgspec.UNSET,
                key_type=body.key_type if body.key_type is not None else msgspec.UNSET,
            )
            made = await services.keys.create_in(change, wanted)
    values = msgspec.structs.asdict((await views(services, [record]))[0])
    if made is not None:
        raw, key = made
        shown = (await key_handlers.row_views(services, [key]))[0]
        values |= {
            "key": raw,
            "token": key.digest,
            "token_id": key.digest,
            "key_name": key.display,
            "key_alias": key.alias,
            "expires": shown.expires,
        }
    return NewUserView(**values)


async def info(services: Services, call: Call[Nothing, UserQuery]) -> Tagged[UserInfoView]:
    """Without `user_id`, the caller himself."""
    user = await _found(services, call)
    actor = call.caller.acting
    own = [row for row in await keys.of(services.database, "user_id", [user.id]) if visible(actor, row)]
    joined = await members.of_user(services.database, user.id, "team")
    reach = actor.reach("teams.read")
    teams = await team_rows.many(services.database, reach, [member.holder_id for member in joined])
    found = UserInfoView(
        user_id=user.id,
        user_info=(await views(services, [user]))[0],
        keys=await key_handlers.row_views(services, own),
        teams=await team_handlers.views(services, list(teams.values())),
    )
    return Tagged(found, etag(user.version))


async def flat_info(services: Services, call: Call[Nothing, UserQuery]) -> Tagged[UserView]:
    user = await _found(services, call)
    return Tagged((await views(services, [user]))[0], etag(user.version))


async def update(services: Services, call: Call[UpdateUser, Nothing]) -> UpdatedUser:
    async with services.changes.make(call.caller) as change:
        record = await users.update(change, services.keys, call.body.user_id, call.body)
    return UpdatedUser(user_id=record.id, data=(await views(services, [record]))[0])


async def bulk_update(services: Services, call: Call[BulkUpdateUsers, Nothing]) -> BulkUpdatedUsers:
    """Each for himself: one that cannot be changed does not keep the others from it."""
    results: list[UserResult] = []
    for item in call.body.users:
        email = item.user_email if isinstance(item.user_email, str) else None
        try:
            async with services.changes.make(call.caller) as change:
                record = await users.update(change, services.keys, item.user_id, item)
            shown = (await views(services, [record]))[0]
            results.append(
                UserResult(user_id=record.id, user_email=record.email, success=True, updated_user=shown)
            )
        except ApiError as error:
            results.append(
                UserResult(user_id=item.user_id, user_email=email, success=False, error=str(error))
            )
    done = sum(result.success for result in results)
    return BulkUpdatedUsers(
        results=results,
        total_requested=len(results),
        successful_updates=done,
        failed_updates=len(results) - done,
    )


async def delete(services: Services, call: Call[DeleteUsers, Nothing]) -> int:
    """All of them with their own keys, or none; how many."""
    async with services.changes.make(call.caller) as change:
        return await users.delete(change, services.keys, call.body.user_ids)


async def restore(services: Services, call: Call[Nothing, Nothing]) -> UserView:
    async with services.changes.make(call.caller) as change:
        record = await users.restore(change, services.keys, call.path["user_id"])
    return (await views(services, [record]))[0]


async def list_users(services: Services, call: Call[Nothing, UserListQuery]) -> UserListView:
    query, reach = call.query, call.caller.acting.reach(users.READ)
    match = await _match(services, query)
    sort = Sort(
        limit=query.page_size,
        offset=(query.page - 1) * query.page_size,
        column=SORTS[query.sort_by or "created_at"],
        descending=query.sort_order == "desc",
    )
    total = await rows.count(services.database, reach, match)
    found_rows = await rows.find(services.database, reach, match, sort)
    shown = []
    for user, view in zip(found_rows, await views(services, found_rows), strict=True):
        count = await keys.count(services.database, KeyFilter(user_id=user.id))
        shown.append(ListedUser(**msgspec.structs.asdict(view), key_count=count))
    return UserListView(
        users=shown,
        total=total,
        page=query.page,
        page_size=query.page_size,
        total_pages=pages(total, query.page_size),
    )


async def _match(services: Services, query: UserListQuery) -> Match:
    one_of: dict[str, list[str]] = {}
    if query.user_ids is not None:
        one_of["id"] = query.user_ids.split(",")
    if query.sso_user_ids is not None:
        one_of["sso_id"] = query.sso_user_ids.split(",")
    if query.role is not None:
        named = {ours for ours in PLATFORM_ROLES if shown_name("platform", ours) == query.role}
        one_of["role"] = sorted(named | {query.role})
    for kind, wanted in (("team", query.team), ("organization", query.organization_ids)):
        if wanted is not None:
            match = Match(equal={"kind": kind}, one_of={"holder_id": wanted.split(",")})
            joined = {row.user_id for row in await memberships.find(services.database, EVERYWHERE, match)}
            one_of["id"] = sorted(joined & set(one_of["id"])) if "id" in one_of else sorted(joined)
    part = query.search or query.user_email
    return Match(one_of=one_of, contains={} if part is None else {"email": part})


async def available_roles(services: Services, call: Call[Nothing, Nothing]) -> Roles:
    """Roles over the whole gateway."""
    found_roles: Roles = {}
    for role, permissions in PLATFORM_ROLES.items():
        name = shown_name("platform", role)
        label, text = DESCRIPTIONS.get(name, (name, name))
        found_roles[name] = RoleView(ui_label=label, description=text, permissions=sorted(permissions))
    return found_roles


async def _found(services: Services, call: Call[Any, UserQuery]) -> User:
    actor = call.caller.acting
    user_id = call.query.user_id or actor.user_id
    if user_id is None:
        raise not_found("no such user", param="user_id", code="user_not_found")
    return await found(services.database, actor.reach(users.READ), rows, user_id, "user_id")


async def views(services: Services, found_rows: Sequence[User]) -> list[UserView]:
    """Users with what they are members of."""
    match = Match(one_of={"user_id": [row.id for row in found_rows]})
    joined = await memberships.find(services.database, EVERYWHERE, match)
    used = await spent(services, "user", found_rows)
    now = services.changes.now_us()

    def holders(user_id: str, kind: str) -> list[str]:
        return [row.holder_id for row in joined if row.user_id == user_id and row.kind == kind]

    return [
        UserView(
            user_id=row.id,
            user_email=row.email,
            user_alias=row.alias,
            user_role=shown_name("platform", row.role),
            sso_user_id=row.sso_id,
            blocked=row.blocked,
            organization_id=row.org_id,
            teams=holders(row.id, "team"),
            organizations=holders(row.id, "organization"),
            **holder_values(row.settings, used[row.id], now),
            **stamps(row),
        )
        for row in found_rows
    ]
