"""Deletes taken back: rows that go alone. Keys, users and teams, which take others along, have ways of their
own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.changes import Change
from ailink.admin.errors import not_found
from ailink.admin.holders import NOUNS, require
from ailink.admin.returns import members_return, require_above
from ailink.admin.services import Services
from ailink.admin.setting_fields import Identifier, Name, Request
from ailink.store import archive
from ailink.store.reach import Reach
from ailink.store.rows import Rows
from ailink.store.tenancy import (
    access_groups,
    budgets,
    customers,
    named_id,
    organizations,
    projects,
    tags,
)


class Restore(Request, frozen=True, kw_only=True):
    """`id`: the id or name under which it was deleted; `organization_id`: whose a customer or tag was."""

    id: Name
    organization_id: Identifier | None = None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    organization_id: str | None
    restored: bool = True


class Noun(NamedTuple):
    """`named`: rows are known by a name within their organization."""

    path: str
    rows: Rows[Any]
    permission: str
    tag: str
    named: bool = False


RESTORED: tuple[Noun, ...] = (
    Noun("organization", organizations, "organizations.write", "Organizations"),
    Noun("project", projects, "projects.write", "Projects"),
    Noun("budget", budgets, "budgets.write", "Budgets"),
    Noun("customer", customers, "customers.write", "Customers", named=True),
    Noun("tag", tags, "tags.write", "Tags", named=True),
    Noun("access_group", access_groups, "access_groups.write", "Access groups"),
)


def of(noun: Noun) -> Callable[[Services, Call[Restore, Nothing]], Awaitable[Restored]]:
    """The handler for a noun."""

    async def restore(services: Services, call: Call[Restore, Nothing]) -> Restored:
        """Takes back the newest delete of this id."""
        body = call.body
        row_id = named_id(body.organization_id, body.id) if noun.named else body.id
        async with services.changes.make(call.caller) as change:
            return await _restored(change, noun, row_id)

    return restore


async def _restored(change: Change, noun: Noun, row_id: str) -> Restored:
    actor, rows = change.caller.acting, noun.rows
    reach = actor.reach(noun.permission)
    within = Reach(everywhere=reach.everywhere, orgs=reach.orgs)
    kept = await archive.newest(change.queries, within, rows.table, row_id)
    if kept is None:
        name = NOUNS[rows.table]
        raise not_found(f"no such {name} was deleted", param="id", code=f"{name.replace(' ', '_')}_not_found")
    record = msgspec.convert(kept.record["row"], rows.record)
    require(actor, noun.permission, org=record.org_id)
    await require_above(change.queries, record)
    await change.insert(rows, record, "restore")
    await members_return(change, kept.record.get("members", ()))
    await archive.forget(change.queries, kept)
    return Restored(id=record.id, organization_id=record.org_id)
