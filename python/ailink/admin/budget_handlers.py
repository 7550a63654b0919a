"""Bodies, answers and handlers of `/budget/*`, in LiteLLM's shapes: limits that many holders are given by id,
each spending its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.changes import Change
from ailink.admin.holders import found, in_use, new_id, place_of, require
from ailink.admin.services import Services
from ailink.admin.setting_fields import (
    BudgetView,
    Identifier,
    LimitFields,
    Request,
    limit_values,
    settings_of,
    stamps,
)
from ailink.admin.subjects import TABLES
from ailink.store import keys
from ailink.store.reach import EVERYWHERE
from ailink.store.tenancy import Budget, budgets, organizations

READ, WRITE = "budgets.read", "budgets.write"


class NewBudget(LimitFields, frozen=True, kw_only=True):
    budget_id: Identifier | None = None
    organization_id: Identifier | None = None


class UpdateBudget(LimitFields, frozen=True, kw_only=True):
    budget_id: Identifier


class BudgetIds(Request, frozen=True, kw_only=True):
    budgets: Annotated[list[Identifier], Meta(max_length=500)]


class BudgetQuery(Request, frozen=True, kw_only=True):
    budget_id: str


class DeleteBudget(Request, frozen=True, kw_only=True):
    id: Identifier


class BudgetRow(BudgetView, frozen=True, kw_only=True):
    organization_id: str | None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class BudgetField(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, as forms show it."""

    field_name: str
    field_type: str
    field_value: Any
    stored_in_db: bool = True


async def new(services: Services, call: Call[NewBudget, Nothing]) -> BudgetRow:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        org_id = await place_of(change.queries, call.caller, body.organization_id)
        if org_id is not None:
            reach = actor.reach("organizations.read")
            await found(change.queries, reach, organizations, org_id, "organization_id")
        require(actor, WRITE, org=org_id)
        record = Budget(
            id=body.budget_id or new_id("budget"),
            org_id=org_id,
            settings=settings_of(body),
            **change.stamps(),
        )
        await change.insert(budgets, record)
    return views(services, [record])[0]


async def update(services: Services, call: Call[UpdateBudget, Nothing]) -> BudgetRow:
    """Whoever was given this budget has the new limits at once."""
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        before = await found(change.queries, actor.reach(READ), budgets, body.budget_id, "budget_id")
        require(actor, WRITE, org=before.org_id)
        after = await change.update(budgets, before, settings=settings_of(body, before.settings))
        await users_of(change, after.id)
    return views(services, [after])[0]


async def info(services: Services, call: Call[BudgetIds, Nothing]) -> list[BudgetRow]:
    """Those of the named budgets that exist."""
    reach = call.caller.acting.reach(READ)
    return views(services, list((await budgets.many(services.database, reach, call.body.budgets)).values()))


async def settings(services: Services, call: Call[Nothing, BudgetQuery]) -> list[BudgetField]:
    reach = call.caller.acting.reach(READ)
    record = await found(services.database, reach, budgets, call.query.budget_id, "budget_id")
    values = limit_values(record.settings, services.changes.now_us())
    types = {
        "max_budget": "Float",
        "soft_budget": "Float",
        "budget_duration": "String",
        "model_max_budget": "Object",
    }
    shown = (
        "max_budget",
        "soft_budget",
        "budget_duration",
        "max_parallel_requests",
        "tpm_limit",
        "rpm_limit",
    )
    return [
        BudgetField(field_name=name, field_type=types.get(name, "Integer"), field_value=values[name])
        for name in (*shown, "model_max_budget")
    ]


async def list_budgets(services: Services, call: Call[Nothing, Nothing]) -> list[BudgetRow]:
    return views(services, await budgets.find(services.database, call.caller.acting.reach(READ)))


async def delete(services: Services, call: Call[DeleteBudget, Nothing]) -> BudgetRow:
    """A budget that somebody was given is not deleted."""
    actor = call.caller.acting
    async with services.changes.make(call.caller) as change:
        record = await found(change.queries, actor.reach(READ), budgets, call.body.id, "id")
        require(actor, WRITE, org=record.org_id)
        using = await users_of(change, record.id)
        if using:
            raise in_use("budget", using)
        await change.remove(budgets, record)
    return views(services, [record])[0]


async def users_of(change: Change, budget_id: str) -> list[str]:
    """Who was given this budget; the plane is told of them anew."""
    using: list[str] = []
    for kind, rows in TABLES.items():
        for record in await rows.find(change.queries, EVERYWHERE):
            if record.settings.budget_id == budget_id:
                using.append(f"{kind} {record.id}")
                change.touch_subject(kind, record.id)
    for key in await keys.naming_budget(change.queries, budget_id):
        using.append(f"key {key.display}")
        change.touch([key.id])
    return using


def views(services: Services, rows: Sequence[Budget]) -> list[BudgetRow]:
    now = services.changes.now_us()
    return [
        BudgetRow(
            budget_id=row.id, organization_id=row.org_id, **limit_values(row.settings, now), **stamps(row)
        )
        for row in rows
    ]
