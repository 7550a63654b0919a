"""Bodies, answers and handlers of `/customer/*` and `/end_user/*`, in LiteLLM's shapes.

A customer is known by what clients send as `user`; the name is unique within an organization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.call import Call, Caller, Nothing
from ailink.admin.changes import Change
from ailink.admin.errors import not_found
from ailink.admin.holders import check_budget, found, place_of, require
from ailink.admin.services import Services
from ailink.admin.setting_fields import (
    BudgetView,
    LimitFields,
    Name,
    Request,
    given,
    limit_values,
    settings_of,
)
from ailink.admin.spent import spent
from ailink.identity.actor import Actor
from ailink.ledger.money import Usd
from ailink.store.database import Queries
from ailink.store.rows import Match
from ailink.store.tenancy import Customer, customers, named_id, organizations

READ, WRITE = "customers.read", "customers.write"


class CustomerChanges(LimitFields, frozen=True, kw_only=True):
    """Settings to change; null takes one away."""

    alias: Name | UnsetType | None = UNSET
    blocked: bool | UnsetType = UNSET
    budget_id: Name | UnsetType | None = UNSET


class NewCustomer(CustomerChanges, frozen=True, kw_only=True):
    user_id: Name
    organization_id: Name | None = None


class UpdateCustomer(CustomerChanges, frozen=True, kw_only=True):
    user_id: Name
    organization_id: Name | None = None


class Customers(Request, frozen=True, kw_only=True):
    user_ids: Annotated[list[Name], Meta(min_length=1, max_length=500)]
    organization_id: Name | None = None


class CustomerQuery(Request, frozen=True, kw_only=True):
    end_user_id: str
    organization_id: str | None = None


class CustomerView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    alias: str | None
    blocked: bool
    spend: Usd
    organization_id: str | None
    budget_id: str | None
    litellm_budget_table: BudgetView | None
    models: list[str] = []
    allowed_model_region: None = None
    default_model: None = None
    object_permission: None = None


class DeletedCustomers(msgspec.Struct, frozen=True, kw_only=True):
    deleted_customers: int
    message: str


class BlockedCustomers(msgspec.Struct, frozen=True, kw_only=True):
    blocked_users: list[CustomerView]


class UnblockedCustomers(msgspec.Struct, frozen=True, kw_only=True):
    """Who is still blocked of those that were named: nobody."""

    blocked_users: list[str]


async def new(services: Services, call: Call[NewCustomer, Nothing]) -> CustomerView:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        org_id = await _organization(change.queries, call.caller, body.organization_id)
        require(actor, WRITE, org=org_id)
        settings = settings_of(body)
        await check_budget(change.queries, actor, settings)
        record = Customer(
            id=named_id(org_id, body.user_id),
            org_id=org_id,
            name=body.user_id,
            **_columns(given(body)),
            settings=settings,
            **change.stamps(),
        )
        await change.insert(customers, record)
    return (await views(services, [record]))[0]


async def update(services: Services, call: Call[UpdateCustomer, Nothing]) -> CustomerView:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        before = await _writable(change, body.user_id, body.organization_id)
        settings = settings_of(body, before.settings)
        await check_budget(change.queries, actor, settings)
        after = await change.update(customers, before, **_columns(given(body)), settings=settings)
    return (await views(services, [after]))[0]


async def info(services: Services, call: Call[Nothing, CustomerQuery]) -> CustomerView:
    query = call.query
    record = await _found(
        services.database, call.caller.acting, query.end_user_id, query.organization_id, "end_user_id"
    )
    return (await views(services, [record]))[0]


async def list_customers(services: Services, call: Call[Nothing, Nothing]) -> list[CustomerView]:
    return await views(services, await customers.find(services.database, call.caller.acting.reach(READ)))


async def delete(services: Services, call: Call[Customers, Nothing]) -> DeletedCustomers:
    """All of them or none."""
    async with services.changes.make(call.caller) as change:
        rows = [await _writable(change, name, call.body.organization_id) for name in _names(call.body)]
        for record in rows:
            await change.remove(customers, record)
    return DeletedCustomers(deleted_customers=len(rows), message=f"{len(rows)} customers were deleted")


async def block(services: Services, call: Call[Customers, Nothing]) -> BlockedCustomers:
    """A customer that is not known yet is made, blocked: it is the operator's right to shut somebody out."""
    actor = call.caller.acting
    blocked: list[Customer] = []
    async with services.changes.make(call.caller) as change:
        org_id = await _organization(change.queries, call.caller, call.body.organization_id)
        for name in _names(call.body):
            row_id = named_id(org_id, name)
            before = await customers.get(change.queries, actor.reach(READ), row_id)
            if before is not None:
                require(actor, WRITE, org=before.org_id)
                blocked.append(await change.update(customers, before, "block", blocked=True))
                continue
            require(actor, WRITE, org=org_id)
            record = Customer(id=row_id, org_id=org_id, name=name, blocked=True, **change.stamps())
            blocked.append(await change.insert(customers, record))
    return BlockedCustomers(blocked_users=await views(services, blocked))


async def unblock(services: Services, call: Call[Customers, Nothing]) -> UnblockedCustomers:
    async with services.changes.make(call.caller) as change:
        for name in _names(call.body):
            before = await _writable(change, name, call.body.organization_id)
            await change.update(customers, before, "unblock", blocked=False)
    return UnblockedCustomers(blocked_users=[])


def _names(body: Customers) -> list[str]:
    return list(dict.fromkeys(body.user_ids))


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "alias" in fields:
        columns["alias"] = fields["alias"]
    if "blocked" in fields:
        columns["blocked"] = bool(fields["blocked"])
    return columns


async def _organization(queries: Queries, caller: Caller, named: str | None) -> str | None:
    org_id = await place_of(queries, caller, named)
    if org_id is not None:
        await found(
            queries, caller.acting.reach("organizations.read"), organizations, org_id, "organization_id"
        )
    return org_id


async def _found(
    queries: Queries, actor: Actor, name: str, org_id: str | None, param: str = "user_id"
) -> Customer:
    """By name; among several organizations' it must be said whose."""
    equal = {"name": name} if org_id is None else {"name": name, "org_id": org_id}
    rows = await customers.find(queries, actor.reach(READ), Match(equal=equal))
    exact = [row for row in rows if row.org_id == org_id] or rows
    if not exact:
        raise not_found("no such customer", param=param, code="customer_not_found")
    if len(exact) > 1:
        raise not_found("several organizations have it: say which", param="organization_id", code="ambiguous")
    return exact[0]


async def _writable(change: Change, name: str, org_id: str | None) -> Customer:
    actor = change.caller.acting
    record = await _found(change.queries, actor, name, org_id)
    require(actor, WRITE, org=record.org_id)
    return record


async def views(services: Services, rows: Sequence[Customer]) -> list[CustomerView]:
    used = await spent(services, "customer", rows)
    now = services.changes.now_us()
    return [
        CustomerView(
            user_id=row.name,
            alias=row.alias,
            blocked=row.blocked,
            spend=Usd(max(used[row.id] - row.settings.spend_base, 0)),
            organization_id=row.org_id,
            budget_id=row.settings.budget_id,
            litellm_budget_table=BudgetView(
                budget_id=row.settings.budget_id, **limit_values(row.settings, now)
            ),
        )
        for row in rows
    ]
