"""The REST views of keys, users and teams under `/v1`: other paths to the same services, pages by cursor,
versions as ETags.
"""

from __future__ import annotations

from typing import Any

from ailink.admin import key_handlers, team_handlers, teams, user_handlers, users
from ailink.admin.call import Call, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.errors import conflict, not_found
from ailink.admin.holders import found
from ailink.admin.key_fields import GenerateKey, KeyChanges, KeyRowView, NewKeyView
from ailink.admin.key_owner import key_not_found, require_change, visible
from ailink.admin.rest_fields import (
    Deleted,
    KeyPage,
    KeysQuery,
    TeamsPage,
    TeamsQuery,
    UserPage,
    UsersQuery,
)
from ailink.admin.rest_pages import cut, page_of, position
from ailink.admin.services import Services
from ailink.admin.team_fields import NewTeam, TeamChanges, TeamView
from ailink.admin.user_fields import NewUser, NewUserView, UserChanges, UserView
from ailink.store import keys
from ailink.store.keys import KeyFilter, KeyRecord, Page
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match, Rows
from ailink.store.tenancy import Team, User
from ailink.store.tenancy import projects as project_rows
from ailink.store.tenancy import teams as team_rows
from ailink.store.tenancy import users as user_rows

# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────


async def new_key(services: Services, call: Call[GenerateKey, Nothing]) -> NewKeyView:
    """The secret is shown this once."""
    return await key_handlers.generate(services, call)


async def list_keys(services: Services, call: Call[Nothing, KeysQuery]) -> KeyPage:
    """Oldest first."""
    query = call.query
    wanted = KeyFilter(
        reach=call.caller.acting.reach("keys.read"),
        user_id=query.user_id,
        team_id=query.team_id,
        project_id=query.project_id,
        org_id=query.organization_id,
        after=None if query.cursor is None else position(query.cursor),
        now_us=services.keys.now_us(),
    )
    page = Page(limit=query.limit + 1, descending=False)
    shown, cursor = cut(await keys.find(services.database, wanted, page), query.limit)
    return KeyPage(
        data=await key_handlers.row_views(services, shown), has_more=cursor is not None, next_cursor=cursor
    )


async def get_key(services: Services, call: Call[Nothing, Nothing]) -> Tagged[KeyRowView]:
    return await _key(services, await services.keys.get_by_id(call.caller, call.path["key_id"]))


async def update_key(services: Services, call: Call[KeyChanges, Nothing]) -> Tagged[KeyRowView]:
    record = await services.keys.update(call.caller, await _digest(services, call), call.body)
    return await _key(services, record)


async def delete_key(services: Services, call: Call[Nothing, Nothing]) -> Deleted:
    """Refused from the moment this is answered; it can be restored."""
    (record,) = await services.keys.delete(call.caller, [await _digest(services, call)], [])
    return Deleted(id=record.id)


async def restore_key(services: Services, call: Call[Nothing, Nothing]) -> Tagged[KeyRowView]:
    """Takes back a delete, with the same secret."""
    async with services.changes.make(call.caller) as change:
        record = await keys.by_id(change.queries, call.path["key_id"])
        if record is None or record.deleted_us is None:
            raise key_not_found("key_id")
        require_change(call.caller.acting, record, "/key/delete", "key_id")
        above: tuple[tuple[str | None, Rows[Any]], ...] = (
            (record.team_id, team_rows),
            (record.project_id, project_rows),
        )
        for holder, rows in above:
            if holder is not None and await rows.get(change.queries, EVERYWHERE, holder) is None:
                raise conflict(f"{holder} is gone: restore that first", "key_orphaned")
        (living,) = await services.keys.restore_in(change, [record.id])
    return await _key(services, living)


async def _digest(services: Services, call: Call[Any, Any]) -> str:
    record = await keys.by_id(services.database, call.path["key_id"])
    if record is None or record.deleted_us is not None or not visible(call.caller.acting, record):
        raise key_not_found("key_id")
    return record.digest


async def _key(services: Services, record: KeyRecord) -> Tagged[KeyRowView]:
    return Tagged((await key_handlers.row_views(services, [record]))[0], etag(record.version))


# ── users ────────────────────────────────────────────────────────────────────────────────────────────────


async def new_user(services: Services, call: Call[NewUser, Nothing]) -> NewUserView:
    """A user, and unless `auto_create_key` is false a key of his."""
    return await user_handlers.new(services, call)


async def list_users(services: Services, call: Call[Nothing, UsersQuery]) -> UserPage:
    """Oldest first."""
    query = call.query
    match = Match(
        equal={} if query.organization_id is None else {"org_id": query.organization_id},
        contains={} if query.search is None else {"email": query.search},
    )
    reach = call.caller.acting.reach(users.READ)
    shown, cursor = await page_of(services.database, reach, user_rows, query, match)
    data = await user_handlers.views(services, shown)
    return UserPage(data=data, has_more=cursor is not None, next_cursor=cursor)


async def get_user(services: Services, call: Call[Nothing, Nothing]) -> Tagged[UserView]:
    reach = call.caller.acting.reach(users.READ)
    return await _user(
        services, await found(services.database, reach, user_rows, call.path["user_id"], "user_id")
    )


async def update_user(services: Services, call: Call[UserChanges, Nothing]) -> Tagged[UserView]:
    async with services.changes.make(call.caller) as change:
        record = await users.update(change, services.keys, call.path["user_id"], call.body)
    return await _user(services, record)


async def delete_user(services: Services, call: Call[Nothing, Nothing]) -> Deleted:
    """With his own keys; keys of teams stay with the team. It can be taken back."""
    async with services.changes.make(call.caller) as change:
        await users.delete(change, services.keys, [call.path["user_id"]])
    return Deleted(id=call.path["user_id"])


async def restore_user(services: Services, call: Call[Nothing, Nothing]) -> Tagged[UserView]:
    async with services.changes.make(call.caller) as change:
        record = await users.restore(change, services.keys, call.path["user_id"])
    return await _user(services, record)


async def _user(services: Services, record: User) -> Tagged[UserView]:
    return Tagged((await user_handlers.views(services, [record]))[0], etag(record.version))


# ── teams ────────────────────────────────────────────────────────────────────────────────────────────────


async def new_team(services: Services, call: Call[NewTeam, Nothing]) -> TeamView:
    return await team_handlers.new(services, call)


async def list_teams(services: Services, call: Call[Nothing, TeamsQuery]) -> TeamsPage:
    """Oldest first."""
    query = call.query
    match = Match(
        equal={} if query.organization_id is None else {"org_id": query.organization_id},
        contains={} if query.search is None else {"alias": query.search},
    )
    reach = call.caller.acting.reach(teams.READ)
    shown, cursor = await page_of(services.database, reach, team_rows, query, match)
    data = await team_handlers.views(services, shown)
    return TeamsPage(data=data, has_more=cursor is not None, next_cursor=cursor)


async def get_team(services: Services, call: Call[Nothing, Nothing]) -> Tagged[TeamView]:
    reach = call.caller.acting.reach(teams.READ)
    return await _team(
        services, await found(services.database, reach, team_rows, call.path["team_id"], "team_id")
    )


async def update_team(services: Services, call: Call[TeamChanges, Nothing]) -> Tagged[TeamView]:
    async with services.changes.make(call.caller) as change:
        record = await teams.update(change, call.path["team_id"], call.body)
    return await _team(services, record)


async def delete_team(services: Services, call: Call[Nothing, Nothing]) -> Deleted:
    """With its keys, projects and memberships. It can be taken back."""
    async with services.changes.make(call.caller) as change:
        gone, _ = await teams.delete(change, services.keys, [call.path["team_id"]])
    if not gone:
        raise not_found("no such team", param="team_id", code="team_not_found")
    return Deleted(id=gone[0].id)


async def restore_team(services: Services, call: Call[Nothing, Nothing]) -> Tagged[TeamView]:
    async with services.changes.make(call.caller) as change:
        record = await teams.restore(change, services.keys, call.path["team_id"])
    return await _team(services, record)


async def _team(services: Services, record: Team) -> Tagged[TeamView]:
    return Tagged(await team_handlers.view(services, record), etag(record.version))
