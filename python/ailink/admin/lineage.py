"""What stands above a key, and what it inherits from there: organization → teams → project → user → member →
key. Used to compile keys for the data plane and to explain them to people, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ailink.admin.key_access import ALL_MODELS, NO_MODELS, TEAM_MODELS, meet
from ailink.store.database import Queries
from ailink.store.keys import KeyAccess
from ailink.store.reach import EVERYWHERE
from ailink.store.settings import Settings
from ailink.store.tenancy import (
    AccessGroup,
    Budget,
    Membership,
    Organization,
    Project,
    Tag,
    Team,
    User,
    access_groups,
    budgets,
    membership_id,
    memberships,
    named_id,
    organizations,
    projects,
    tags,
    teams,
    users,
)

LevelKind = Literal["organization", "team", "project", "user", "member", "tag", "key"]
# How deep teams may be nested: a walk upwards ends, whatever the database says.
DEEPEST = 16


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One holder of settings above a key, or the key itself. A budget given by id is merged in."""

    kind: LevelKind
    id: str
    alias: str | None = None
    blocked: bool = False
    settings: Settings


class World:
    """The holders that some keys stand under."""

    def __init__(self) -> None:
        self.organizations: dict[str, Organization] = {}
        self.teams: dict[str, Team] = {}
        self.projects: dict[str, Project] = {}
        self.users: dict[str, User] = {}
        self.members: dict[str, Membership] = {}
        self.tags: dict[str, Tag] = {}
        self.budgets: dict[str, Budget] = {}
        self.groups: list[AccessGroup] = []

    @classmethod
    async def of(cls, queries: Queries, keys: Sequence[KeyAccess]) -> World:
        """Whatever these keys stand under: as many queries for one key as for ten thousand."""
        world = cls()
        world.projects = await projects.many(queries, EVERYWHERE, _some(key.project_id for key in keys))
        wanted = set(_some(key.team_id for key in keys)) | {
            project.team_id for project in world.projects.values()
        }
        for _ in range(DEEPEST):
            found = await teams.many(queries, EVERYWHERE, wanted)
            world.teams |= found
            wanted = set(_some(team.parent_id for team in found.values())) - world.teams.keys()
            if not wanted:
                break
        world.users = await users.many(queries, EVERYWHERE, _some(key.user_id for key in keys))
        world.members = await memberships.many(
            queries, EVERYWHERE, {id for key in keys for id in _memberships(key)}
        )
        orgs = {key.org_id for key in keys} | {team.org_id for team in world.teams.values()}
        world.organizations = await organizations.many(queries, EVERYWHERE, _some(orgs))
        world.tags = await tags.many(
            queries, EVERYWHERE, {named_id(key.org_id, tag) for key in keys for tag in key.settings.tags}
        )
        world.groups = await access_groups.find(queries, EVERYWHERE)
        holders: list[Organization | Team | Project] = [
            *world.organizations.values(),
            *world.teams.values(),
            *world.projects.values(),
        ]
        given = [holder.settings.budget_id for holder in holders]
        given += [user.settings.budget_id for user in world.users.values()]
        given += [member.settings.budget_id for member in world.members.values()]
        given += [tag.settings.budget_id for tag in world.tags.values()]
        given += [key.settings.budget_id for key in keys]
        world.budgets = await budgets.many(queries, EVERYWHERE, _some(given))
        return world

    def merged(self, settings: Settings) -> Settings:
        """Settings with the budget they name filled in where they say nothing themselves."""
        budget = None if settings.budget_id is None else self.budgets.get(settings.budget_id)
        if budget is None:
            return settings
        return msgspec.structs.replace(
            settings,
            **{
                field: getattr(budget.settings, field)
                for field in BUDGET_FIELDS
                if getattr(settings, field) in (None, (), {})
            },
        )

    def team_path(self, team_id: str | None) -> list[Team]:
        """The team and those above it, the topmost first."""
        path: list[Team] = []
        while team_id is not None and team_id in self.teams and len(path) < DEEPEST:
            path.insert(0, self.teams[team_id])
            team_id = path[0].parent_id
        return path

    def levels(self, key: KeyAccess) -> list[Level]:
        """From the organization down to the key."""
        found: list[Level] = []
        project = self.projects.get(key.project_id or "")
        organization = self.organizations.get(key.org_id or "")
        path = self.team_path(key.team_id or (project.team_id if project else None))
        if organization is not None:
            found.append(self._level("organization", organization.id, organization))
        found += [self._level("team", team.id, team) for team in path]
        if project is not None:
            found.append(self._level("project", project.id, project))
        user = self.users.get(key.user_id or "")
        if user is not None:
            found.append(self._level("user", user.id, user))
        found += self._member_levels(key, path)
        for name in key.settings.tags:
            tag = self.tags.get(named_id(key.org_id, name))
            if tag is not None:
                found.append(Level(kind="tag", id=tag.id, alias=name, settings=self.merged(tag.settings)))
        own = self.merged(key.all_settings())
        found.append(Level(kind="key", id=key.id, alias=key.alias, blocked=key.blocked, settings=own))
        return found

    def _level(self, kind: LevelKind, id: str, holder: Organization | Team | Project | User) -> Level:
        settings = self.merged(holder.settings)
        return Level(kind=kind, id=id, alias=holder.alias, blocked=holder.blocked, settings=settings)

    def _member_levels(self, key: KeyAccess, path: Sequence[Team]) -> list[Level]:
        """What the user may use of his organization and of his team."""
        found = []
        for member_id in _memberships(key):
            member = self.members.get(member_id)
            if member is None:
                continue
            settings = self.merged(member.settings)
            if member.kind == "team" and path:
                settings = member_defaults(settings, path[-1].member_settings)
            found.append(Level(kind="member", id=member.id, settings=settings))
        return found

    def allowed_models(self, key: KeyAccess) -> list[str] | None:
        """Names and patterns the key may use; None for all, empty for none."""
        allowed: list[str] | None = None
        for level in self.levels(key):
            # A user's own list is about keys outside of teams: inside, the team says what members may use.
            if (level.kind == "user" and key.team_id is not None) or level.kind == "tag":
                continue
            allowed = meet(allowed, self.expanded(level.settings, key.org_id))
        return allowed

    def expanded(self, settings: Settings, org_id: str | None) -> list[str] | None:
        """The models of one level with access groups in place of their names; None for all."""
        if not settings.models and not settings.access_groups:
            return None
        groups = {group.name: group for group in self.groups if group.org_id in (None, org_id)}
        groups |= {group.id: group for group in self.groups if group.org_id in (None, org_id)}
        names: list[str] = []
        for name in (*settings.models, *settings.access_groups):
            if name == ALL_MODELS or name in TEAM_MODELS:
                return None
            if name in groups:
                names += groups[name].models
            elif name != NO_MODELS and name not in settings.access_groups:
                names.append(name)
        return list(dict.fromkeys(names))


BUDGET_FIELDS = (
    "rpm_limit",
    "tpm_limit",
    "tpd_limit",
    "max_parallel",
    "max_budget",
    "soft_budget",
    "budget_duration",
    "model_limits",
    "limits",
    "temp_budget_increase",
    "temp_budget_expiry_us",
    "alert_at",
)


def member_defaults(own: Settings, default: Settings) -> Settings:
    """A member's settings, those of all members of the team where his own say nothing."""
    return msgspec.structs.replace(
        own,
        **{
            field: getattr(default, field)
            for field in (*BUDGET_FIELDS, "models")
            if getattr(own, field) in (None, (), {})
        },
    )


def _memberships(key: KeyAccess) -> list[str]:
    if key.user_id is None:
        return []
    found = []
    if key.org_id is not None:
        found.append(membership_id("organization", key.org_id, key.user_id))
    if key.team_id is not None:
        found.append(membership_id("team", key.team_id, key.user_id))
    return found


def _some(ids: Iterable[str | None]) -> set[str]:
    return {id for id in ids if id is not None}
