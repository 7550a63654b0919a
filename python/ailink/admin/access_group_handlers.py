"""Bodies, answers and handlers of `/access_group/*` and `/v1/access_group`: a name for several models, in
LiteLLM's shapes. Teams and keys name a group among their models or in `access_group_ids`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.changes import Change
from ailink.admin.errors import not_found
from ailink.admin.holders import found, in_use, new_id, place_of, require
from ailink.admin.key_access import check_models
from ailink.admin.services import Services
from ailink.admin.setting_fields import Models, Name, Request, Text, stamps
from ailink.identity.actor import Actor
from ailink.store import keys
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.settings import Settings
from ailink.store.tenancy import AccessGroup, access_groups, organizations, projects, teams, users

READ, WRITE = "access_groups.read", "access_groups.write"


class NewGroup(Request, frozen=True, kw_only=True):
    """`model_names`: what the group stands for."""

    access_group: Name
    model_names: Models
    organization_id: Name | None = None


class GroupModels(Request, frozen=True, kw_only=True):
    model_names: Models


class CreateGroup(Request, frozen=True, kw_only=True):
    access_group_name: Name
    description: Text | None = None
    access_model_names: Models = []
    organization_id: Name | None = None
    access_mcp_server_ids: Annotated[list[str], Meta(max_length=0)] = []
    access_agent_ids: Annotated[list[str], Meta(max_length=0)] = []
    assigned_team_ids: Annotated[list[str], Meta(max_length=0)] = []
    assigned_key_ids: Annotated[list[str], Meta(max_length=0)] = []


class UpdateGroup(Request, frozen=True, kw_only=True):
    access_group_name: Name | None = None
    description: Text | None = None
    access_model_names: Models | None = None


class ModelGroupView(msgspec.Struct, frozen=True, kw_only=True):
    access_group: str
    model_names: list[str]
    models_updated: int


class GroupInfo(msgspec.Struct, frozen=True, kw_only=True):
    access_group: str
    model_names: list[str]
    deployment_count: int


class GroupList(msgspec.Struct, frozen=True, kw_only=True):
    access_groups: list[GroupInfo]


class GroupDeleted(msgspec.Struct, frozen=True, kw_only=True):
    access_group: str
    models_updated: int
    message: str


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    access_group_id: str
    access_group_name: str
    organization_id: str | None
    description: str | None
    access_model_names: list[str]
    access_mcp_server_ids: list[str] = []
    access_agent_ids: list[str] = []
    assigned_team_ids: list[str]
    assigned_key_ids: list[str]
    access_mcp_servers: list[Any] = []
    access_agents: list[Any] = []
    assigned_teams: list[dict[str, str]]
    assigned_keys: list[dict[str, str]]
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


async def new(services: Services, call: Call[NewGroup, Nothing]) -> ModelGroupView:
    body = call.body
    async with services.changes.make(call.caller) as change:
        group = await _create(change, body.access_group, None, body.model_names, body.organization_id)
    return ModelGroupView(
        access_group=group.name, model_names=list(group.models), models_updated=len(group.models)
    )


async def list_groups(services: Services, call: Call[Nothing, Nothing]) -> GroupList:
    rows = await access_groups.find(services.database, call.caller.acting.reach(READ))
    return GroupList(access_groups=[_info(services, row) for row in rows])


async def info(services: Services, call: Call[Nothing, Nothing]) -> GroupInfo:
    return _info(services, await _named(services.database, call.caller.acting, call.path["access_group"]))


async def update(services: Services, call: Call[GroupModels, Nothing]) -> ModelGroupView:
    async with services.changes.make(call.caller) as change:
        before = await _named(change.queries, call.caller.acting, call.path["access_group"])
        after = await _change(change, before, {"models": call.body.model_names})
    return ModelGroupView(
        access_group=after.name, model_names=list(after.models), models_updated=len(after.models)
    )


async def delete(services: Services, call: Call[Nothing, Nothing]) -> GroupDeleted:
    async with services.changes.make(call.caller) as change:
        group = await _named(change.queries, call.caller.acting, call.path["access_group"])
        await _remove(change, group)
    return GroupDeleted(
        access_group=group.name,
        models_updated=len(group.models),
        message=f"Access group {group.name} deleted",
    )


async def create(services: Services, call: Call[CreateGroup, Nothing]) -> GroupView:
    body = call.body
    async with services.changes.make(call.caller) as change:
        group = await _create(
            change, body.access_group_name, body.description, body.access_model_names, body.organization_id
        )
    return await _view(services.database, group)


async def list_rows(services: Services, call: Call[Nothing, Nothing]) -> list[GroupView]:
    rows = await access_groups.find(services.database, call.caller.acting.reach(READ))
    return [await _view(services.database, row) for row in rows]


async def get(services: Services, call: Call[Nothing, Nothing]) -> GroupView:
    reach, row_id = call.caller.acting.reach(READ), call.path["access_group_id"]
    return await _view(
        services.database, await found(services.database, reach, access_groups, row_id, "access_group_id")
    )


async def put(services: Services, call: Call[UpdateGroup, Nothing]) -> GroupView:
    body, reach = call.body, call.caller.acting.reach(READ)
    async with services.changes.make(call.caller) as change:
        before = await found(
            change.queries, reach, access_groups, call.path["access_group_id"], "access_group_id"
        )
        columns = {
            "name": body.access_group_name,
            "description": body.description,
            "models": body.access_model_names,
        }
        after = await _change(
            change, before, {name: value for name, value in columns.items() if value is not None}
        )
    return await _view(services.database, after)


async def delete_row(services: Services, call: Call[Nothing, Nothing]) -> GroupDeleted:
    reach = call.caller.acting.reach(READ)
    async with services.changes.make(call.caller) as change:
        group = await found(
            change.queries, reach, access_groups, call.path["access_group_id"], "access_group_id"
        )
        await _remove(change, group)
    return GroupDeleted(
        access_group=group.name,
        models_updated=len(group.models),
        message=f"Access group {group.name} deleted",
    )


async def _create(
    change: Change, name: str, description: str | None, models: Sequence[str], org_id: str | None
) -> AccessGroup:
    actor = change.caller.acting
    org_id = await place_of(change.queries, change.caller, org_id)
    if org_id is not None:
        await found(
            change.queries, actor.reach("organizations.read"), organizations, org_id, "organization_id"
        )
    require(actor, WRITE, org=org_id)
    check_models(models)
    record = AccessGroup(
        id=new_id("group"),
        org_id=org_id,
        name=name,
        description=description,
        models=tuple(dict.fromkeys(models)),
        **change.stamps(),
    )
    await change.insert(access_groups, record)
    # A key may have named the group before it existed.
    await _users(change, record)
    return record


async def _change(change: Change, before: AccessGroup, columns: dict[str, Any]) -> AccessGroup:
    require(change.caller.acting, WRITE, org=before.org_id)
    if "models" in columns:
        check_models(columns["models"])
        columns["models"] = tuple(dict.fromkeys(columns["models"]))
    if columns.get("name", before.name) != before.name:
        using = await _users(change, before)
        if using:
            raise in_use("access group", using)
    after = await change.update(access_groups, before, **columns)
    await _users(change, after)
    return after


async def _remove(change: Change, group: AccessGroup) -> None:
    require(change.caller.acting, WRITE, org=group.org_id)
    using = await _users(change, group)
    if using:
        raise in_use("access group", using)
    await change.remove(access_groups, group)


async def _users(change: Change, group: AccessGroup) -> list[str]:
    """Who names the group; the keys of all of them are told to the plane anew."""
    using: list[str] = []
    places: tuple[tuple[Any, str, str], ...] = (
        (organizations, "organization", "org_id"),
        (teams, "team", "team_id"),
        (projects, "project", "project_id"),
        (users, "user", "user_id"),
    )
    for rows, noun, column in places:
        for record in await rows.find(change.queries, EVERYWHERE):
            if names(record.settings, group):
                using.append(f"{noun} {record.id}")
                await change.touch_keys_of(column, [record.id])  # type: ignore[arg-type]
    for key in await keys.naming_group(change.queries, group.id, group.name):
        if names(key.all_settings(), group):
            using.append(f"key {key.display}")
            change.touch([key.id])
    return using


def names(settings: Settings, group: AccessGroup) -> bool:
    return not {group.id, group.name}.isdisjoint((*settings.models, *settings.access_groups))


async def _named(queries: Queries, actor: Actor, name: str) -> AccessGroup:
    rows = await access_groups.find(queries, actor.reach(READ), Match(equal={"name": name}))
    if not rows:
        raise not_found("no such access group", param="access_group", code="access_group_not_found")
    return rows[0]


def _info(services: Services, group: AccessGroup) -> GroupInfo:
    deployments = {model.name: len(model.deployments) for model in services.config.models()}
    return GroupInfo(
        access_group=group.name,
        model_names=list(group.models),
        deployment_count=sum(deployments.get(name, 0) for name in group.models),
    )


async def _view(queries: Queries, group: AccessGroup) -> GroupView:
    assigned = [team for team in await teams.find(queries, EVERYWHERE) if names(team.settings, group)]
    holding = [
        key
        for key in await keys.naming_group(queries, group.id, group.name)
        if names(key.all_settings(), group)
    ]
    return GroupView(
        access_group_id=group.id,
        access_group_name=group.name,
        organization_id=group.org_id,
        description=group.description,
        access_model_names=list(group.models),
        assigned_team_ids=[team.id for team in assigned],
        assigned_key_ids=[key.digest for key in holding],
        assigned_teams=[{"id": team.id, "name": team.alias or team.id} for team in assigned],
        assigned_keys=[{"id": key.digest, "name": key.alias or key.display} for key in holding],
        **stamps(group),
    )
