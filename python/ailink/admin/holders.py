"""What all handlers of tenants' rows do alike: find or 404, may or 403, spend, pages, deletes that know what
is in use.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from ailink.admin.call import Caller
from ailink.admin.changes import Change
from ailink.admin.errors import bad_request, conflict, forbidden, not_found
from ailink.admin.setting_fields import LIMITING, given
from ailink.identity.actor import Actor
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE, Reach
from ailink.store.rows import Match, Record, Rows
from ailink.store.settings import Settings
from ailink.store.tenancy import budgets, teams

R = TypeVar("R", bound=Record)
PAGE_MOST = 500
# Names of the nouns in messages and error codes.
NOUNS = {
    "organization": "organization",
    "team": "team",
    "project": "project",
    "app_user": "user",
    "membership": "member",
    "customer": "customer",
    "tag": "tag",
    "budget": "budget",
    "access_group": "access group",
    "custom_role": "role",
}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


async def found(queries: Queries, reach: Reach, rows: Rows[R], row_id: str, param: str) -> R:
    """The row. Raises `ApiError`: the same 404 for one that does not exist and one the caller may not see."""
    record = await rows.get(queries, reach, row_id)
    if record is None:
        noun = NOUNS[rows.table]
        raise not_found(f"no such {noun}", param=param, code=f"{noun.replace(' ', '_')}_not_found")
    return record


def require(
    actor: Actor, permission: str, *, org: str | None = None, team: str | None = None, user: str | None = None
) -> None:
    """Raises `ApiError` (403) for a permission that does not reach the object."""
    if not actor.may(permission, org=org, team=team, user=user):
        raise forbidden(f"This needs the permission `{permission}` there.", code="permission_denied")


def require_everywhere(actor: Actor, permission: str) -> None:
    """Raises `ApiError` (403) for who holds it in an organization, a team or on his own alone."""
    if permission not in actor.platform:
        raise forbidden(
            f"This needs the permission `{permission}` over the gateway.", code="permission_denied"
        )


def guard_limits(
    actor: Actor, request: msgspec.Struct, *, org: str | None, parent: str | None = None
) -> None:
    """Limits and models of a holder are set by those who answer for what stands above it: nobody raises his
    own budget. Raises `ApiError` (403).
    """
    touched = LIMITING & {name for name, value in given(request).items() if value not in (None, [], {})}
    cleared = LIMITING & {name for name, value in given(request).items() if value is None}
    answers = actor.may("budgets.write", org=org)
    answers = answers or (parent is not None and actor.may("teams.write", team=parent))
    if (touched or cleared) and not answers:
        raise forbidden(
            f"`{min(touched or cleared)}` is set by those responsible for the budget above: it needs the "
            "permission `budgets.write`.",
            code="limits_denied",
        )


async def check_budget(queries: Queries, actor: Actor, settings: Settings) -> None:
    """Raises `ApiError` (404) for a budget the caller may not see."""
    if settings.budget_id is not None:
        await found(queries, actor.reach("budgets.read"), budgets, settings.budget_id, "budget_id")


async def place_of(queries: Queries, caller: Caller, org_id: str | None) -> str | None:
    """The organization a new row belongs to: the one that was named, else the caller's only one."""
    actor = caller.acting
    if org_id is not None:
        return org_id
    if actor.platform:
        return None
    if len(actor.orgs) == 1:
        return next(iter(actor.orgs))
    if actor.org_id is not None:
        return actor.org_id
    if not actor.orgs:
        return None
    raise bad_request("you belong to several organizations: say which", param="organization_id")


def reach(settings: Settings) -> tuple[Any, ...]:
    """What keys below take over from these settings."""
    return (
        settings.models,
        settings.access_groups,
        settings.guardrails,
        settings.cache,
        settings.cache_controls,
    )


async def touch_models(
    change: Change, before: Settings, after: Settings, column: Any, ids: Sequence[str]
) -> None:
    """The keys of a holder are compiled anew where what they may use has changed."""
    if reach(before) != reach(after):
        await change.touch_keys_of(column, ids)


async def below(queries: Queries, team_ids: Iterable[str]) -> list[str]:
    """These teams and all teams below them."""
    all_ids = list(dict.fromkeys(team_ids))
    waiting = list(all_ids)
    while waiting:
        children = await teams.find(queries, EVERYWHERE, Match(one_of={"parent_id": waiting}))
        waiting = [team.id for team in children if team.id not in all_ids]
        all_ids += waiting
    return all_ids


def in_use(noun: str, users: Sequence[str]) -> Exception:
    """A 409 that names what uses it."""
    shown = ", ".join(users[:10]) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
    return conflict(
        f"this {noun} is in use by {shown}: take it from them first", code=f"{noun.replace(' ', '_')}_in_use"
    )


def pages(total: int, size: int) -> int:
    return -(-total // size)
