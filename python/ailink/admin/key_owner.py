"""Whose a key is, and who may make, change and see it.

A key belongs to an organization, a team, a project, a user: those that were named and may be seen by the
caller. It never gives more than its creator has: models, limits and budgets of everything above it hold for
it, and it acts as its user only where the creator could have done all that the user may do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ailink.admin.errors import ApiError, bad_request, forbidden, not_found
from ailink.identity.actor import Actor, actor_of_user
from ailink.store.database import Queries
from ailink.store.keys import KeyRecord
from ailink.store.reach import EVERYWHERE
from ailink.store.tenancy import Project, Team, User, organizations, projects, teams, users

READ, WRITE = "keys.read", "keys.write"
# The key routes that a team's plain members may be given, and what they may do without being given any.
MEMBER_ROUTES = (
    "/key/generate",
    "/key/update",
    "/key/delete",
    "/key/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/info",
    "/key/list",
    "/key/health",
)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that say whose a key is."""

    org_id: str | None = None
    team_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    acts_as_user: bool = False


def visible(actor: Actor, record: KeyRecord) -> bool:
    return record.id == actor.key_id or actor.may(
        READ, org=record.org_id, team=record.team_id, user=record.user_id
    )


def may_change(actor: Actor, record: KeyRecord, route: str) -> bool:
    """`route`: the member permission that is needed on one's own key in a team."""
    if actor.may(WRITE, org=record.org_id, team=record.team_id):
        return True
    own = record.user_id is not None and record.user_id == actor.user_id and WRITE in actor.own
    if not own:
        return False
    return record.team_id is None or route in actor.member_permissions.get(record.team_id, ())


def require_change(actor: Actor, record: KeyRecord, route: str, param: str = "key") -> None:
    """404 for a key the caller cannot see, 403 for one he may not change."""
    if not visible(actor, record):
        raise key_not_found(param)
    if not may_change(actor, record, route):
        raise forbidden("You may not change this key.", code="key_access_denied")


async def owner_of(
    queries: Queries,
    actor: Actor,
    fields: Mapping[str, Any],
    before: KeyRecord | None = None,
    service: bool = False,
) -> Owner:
    """Whose the key shall be, from the fields of the request and what it was. Raises `ApiError`: 400, 403,
    404.
    """

    def wanted(field: str, column: str) -> str | None:
        value: str | None = fields[field] if field in fields else getattr(before, column, None)
        return value

    project = await _project(queries, actor, wanted("project_id", "project_id"))
    team = await _team(queries, actor, wanted("team_id", "team_id"), project)
    user_id = wanted("user_id", "user_id")
    # A plain member makes a key of his own in a team; who may make the team's keys says whose it is.
    makes_theirs = team is not None and actor.may(WRITE, org=team.org_id, team=team.id)
    if before is None and user_id is None and not (service or actor.is_admin or makes_theirs):
        user_id = actor.user_id
    user = None if user_id is None else await _user(queries, actor, user_id)
    org_id = await _organization(queries, actor, wanted("organization_id", "org_id"), team)
    if org_id is None and user is not None and before is None:
        org_id = user.org_id
    owner = Owner(
        org_id=org_id,
        team_id=None if team is None else team.id,
        project_id=None if project is None else project.id,
        user_id=user_id,
        acts_as_user=user is not None and await _may_lend(queries, actor, user),
    )
    _require_place(actor, owner, "/key/generate" if before is None else "/key/update")
    return owner


def _require_place(actor: Actor, owner: Owner, route: str) -> None:
    if actor.may(WRITE, org=owner.org_id, team=owner.team_id):
        return
    own = owner.user_id is not None and owner.user_id == actor.user_id and WRITE in actor.own
    if own and owner.team_id is None and owner.org_id in (None, actor.org_id, *actor.orgs):
        return
    if own and owner.team_id is not None and route in actor.member_permissions.get(owner.team_id, ()):
        return
    raise forbidden("You may not make keys there.", code="key_access_denied")


async def _may_lend(queries: Queries, actor: Actor, user: User) -> bool:
    return user.id == actor.user_id or actor.covers(await actor_of_user(queries, user))


async def _project(queries: Queries, actor: Actor, project_id: str | None) -> Project | None:
    if project_id is None:
        return None
    found = await projects.get(queries, actor.reach("projects.read"), project_id)
    if found is None:
        raise not_found("no such project", param="project_id", code="project_not_found")
    return found


async def _team(queries: Queries, actor: Actor, team_id: str | None, project: Project | None) -> Team | None:
    if project is not None and team_id not in (None, project.team_id):
        raise bad_request("the project belongs to another team", param="project_id")
    wanted = team_id if project is None else project.team_id
    if wanted is None:
        return None
    found = await teams.get(queries, actor.reach("teams.read"), wanted)
    if found is None:
        raise not_found("no such team", param="team_id", code="team_not_found")
    return found


async def _user(queries: Queries, actor: Actor, user_id: str) -> User | None:
    """The user; None for a mere label, which only the operator may give."""
    found = await users.get(queries, actor.reach("users.read"), user_id)
    if found is None:
        if not actor.is_admin or await users.get(queries, EVERYWHERE, user_id) is not None:
            raise not_found("no such user", param="user_id", code="user_not_found")
        return None
    return found


async def _organization(queries: Queries, actor: Actor, org_id: str | None, team: Team | None) -> str | None:
    if team is not None:
        if org_id not in (None, team.org_id):
            raise bad_request("the team belongs to another organization", param="organization_id")
        return team.org_id
    if org_id is None:
        return None
    found = await organizations.get(queries, actor.reach("organizations.read"), org_id)
    if found is None:
        raise not_found("no such organization", param="organization_id", code="organization_not_found")
    return org_id


def key_not_found(param: str = "key") -> ApiError:
    """The same answer for a key that does not exist, one that was deleted, and one the caller may not see."""
    return not_found("no such key", param=param, code="key_not_found")
