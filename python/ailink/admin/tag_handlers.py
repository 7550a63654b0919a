"""Bodies, answers and handlers of `/tag/*`, in LiteLLM's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import not_found
from ailink.admin.holders import check_budget, found, place_of, require
from ailink.admin.services import Services
from ailink.admin.setting_fields import (
    BudgetView,
    LimitFields,
    Name,
    Request,
    Text,
    given,
    limit_values,
    settings_of,
    stamps,
)
from ailink.admin.spent import spent
from ailink.identity.actor import Actor
from ailink.ledger.money import Usd
from ailink.store.database import Queries
from ailink.store.rows import Match
from ailink.store.tenancy import Tag, named_id, organizations, tags

READ, WRITE = "tags.read", "tags.write"


class TagFields(LimitFields, frozen=True, kw_only=True):
    name: Name
    organization_id: Name | None = None
    description: Text | UnsetType | None = UNSET
    budget_id: Name | UnsetType | None = UNSET


class TagNames(Request, frozen=True, kw_only=True):
    names: Annotated[list[Name], Meta(max_length=500)]


class TagName(Request, frozen=True, kw_only=True):
    name: Name
    organization_id: Name | None = None


class TagView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str | None
    organization_id: str | None
    models: list[str] = []
    model_info: dict[str, str] = {}
    spend: Usd
    budget_id: str | None
    litellm_budget_table: BudgetView
    created_at: datetime
    created_by: str
    updated_at: datetime


class TagMade(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    tag: TagView


class TagDeleted(msgspec.Struct, frozen=True, kw_only=True):
    message: str


async def new(services: Services, call: Call[TagFields, Nothing]) -> TagMade:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        org_id = await place_of(change.queries, call.caller, body.organization_id)
        if org_id is not None:
            reach = actor.reach("organizations.read")
            await found(change.queries, reach, organizations, org_id, "organization_id")
        require(actor, WRITE, org=org_id)
        settings = settings_of(body)
        await check_budget(change.queries, actor, settings)
        record = Tag(
            id=named_id(org_id, body.name),
            org_id=org_id,
            name=body.name,
            description=given(body).get("description"),
            settings=settings,
            **change.stamps(),
        )
        await change.insert(tags, record)
    return TagMade(message=f"Tag {body.name} created successfully", tag=(await views(services, [record]))[0])


async def update(services: Services, call: Call[TagFields, Nothing]) -> TagMade:
    body, actor = call.body, call.caller.acting
    fields = given(body)
    async with services.changes.make(call.caller) as change:
        before = await _found(change.queries, actor, body.name, body.organization_id)
        require(actor, WRITE, org=before.org_id)
        columns: dict[str, Any] = {"settings": settings_of(body, before.settings)}
        await check_budget(change.queries, actor, columns["settings"])
        if "description" in fields:
            columns["description"] = fields["description"]
        after = await change.update(tags, before, **columns)
    return TagMade(message=f"Tag {body.name} updated successfully", tag=(await views(services, [after]))[0])


async def info(services: Services, call: Call[TagNames, Nothing]) -> dict[str, TagView]:
    """Those of the named tags that exist."""
    match = Match(one_of={"name": call.body.names})
    rows = await tags.find(services.database, call.caller.acting.reach(READ), match)
    return {view.name: view for view in await views(services, rows)}


async def list_tags(services: Services, call: Call[Nothing, Nothing]) -> list[TagView]:
    return await views(services, await tags.find(services.database, call.caller.acting.reach(READ)))


async def delete(services: Services, call: Call[TagName, Nothing]) -> TagDeleted:
    actor = call.caller.acting
    async with services.changes.make(call.caller) as change:
        record = await _found(change.queries, actor, call.body.name, call.body.organization_id)
        require(actor, WRITE, org=record.org_id)
        await change.remove(tags, record)
    return TagDeleted(message=f"Tag {record.name} deleted successfully")


async def _found(queries: Queries, actor: Actor, name: str, org_id: str | None) -> Tag:
    equal = {"name": name} if org_id is None else {"name": name, "org_id": org_id}
    rows = await tags.find(queries, actor.reach(READ), Match(equal=equal))
    exact = [row for row in rows if row.org_id == org_id] or rows
    if len(exact) != 1:
        several = "several organizations have it: say which" if exact else "no such tag"
        raise not_found(several, param="organization_id" if exact else "name", code="tag_not_found")
    return exact[0]


async def views(services: Services, rows: Sequence[Tag]) -> list[TagView]:
    used = await spent(services, "tag", rows)
    now = services.changes.now_us()
    return [
        TagView(
            name=row.name,
            description=row.description,
            organization_id=row.org_id,
            spend=Usd(max(used[row.id] - row.settings.spend_base, 0)),
            budget_id=row.settings.budget_id,
            litellm_budget_table=BudgetView(
                budget_id=row.settings.budget_id, **limit_values(row.settings, now)
            ),
            created_at=stamps(row)["created_at"],
            created_by=row.created_by,
            updated_at=stamps(row)["updated_at"],
        )
        for row in rows
    ]
