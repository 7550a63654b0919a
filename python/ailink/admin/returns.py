"""What a deleted row needs to come back: everything above it, and the budget it was given. Without them it
would be held less narrowly than when it was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ailink.admin.changes import Change
from ailink.admin.errors import conflict
from ailink.store import archive
from ailink.store.database import Queries
from ailink.store.keys import KeyRecord
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Rows
from ailink.store.tenancy import (
    Budget,
    Membership,
    budgets,
    memberships,
    organizations,
    projects,
    teams,
    users,
)

# Attribute of a row → what it names, and the rows it is found in.
ABOVE: tuple[tuple[str, str, Rows[Any]], ...] = (
    ("org_id", "organization", organizations),
    ("parent_id", "team", teams),
    ("team_id", "team", teams),
    ("project_id", "project", projects),
)


async def require_above(queries: Queries, record: Any) -> None:
    """Raises `ApiError` (409) naming what has to be restored first."""
    for column, noun, rows in ABOVE:
        row_id = getattr(record, column, None)
        # An organization is its own.
        if row_id is None or row_id == record.id:
            continue
        if await rows.get(queries, EVERYWHERE, row_id) is None:
            raise _gone(noun, row_id)
    settings = getattr(record, "settings", None)
    # A budget's own settings name the budget itself.
    budget_id = None if settings is None or isinstance(record, Budget) else settings.budget_id
    if budget_id is not None and await budgets.get(queries, EVERYWHERE, budget_id) is None:
        raise _gone("budget", budget_id)


async def key_returns(queries: Queries, record: KeyRecord) -> dict[str, Any]:
    """What is different about a key that comes back: one of a team goes on without a user who was deleted
    meanwhile. Raises `ApiError` (409) where something above is gone.
    """
    await require_above(queries, record)
    if record.user_id is None or not await _deleted_user(queries, record.user_id):
        return {}
    if record.team_id is None:
        raise _gone("user", record.user_id)
    return {"user_id": None, "acts_as_user": False}


async def members_return(change: Change, kept: Iterable[Any]) -> None:
    """The memberships that were deleted with a row, as far as both ends are there."""
    for row in kept:
        member = msgspec.convert(row, Membership)
        holders: Rows[Any] = teams if member.kind == "team" else organizations
        both = ((users, member.user_id), (holders, member.holder_id))
        if all([await rows.get(change.queries, EVERYWHERE, row_id) is not None for rows, row_id in both]):
            await change.insert(memberships, member, "restore")


async def _deleted_user(queries: Queries, user_id: str) -> bool:
    """Not one whose name is a mere label of the key."""
    if await users.get(queries, EVERYWHERE, user_id) is not None:
        return False
    return await archive.newest(queries, EVERYWHERE, users.table, user_id) is not None


def _gone(noun: str, row_id: str) -> Exception:
    return conflict(f"{noun} {row_id} is gone: restore that first", "holder_deleted")
