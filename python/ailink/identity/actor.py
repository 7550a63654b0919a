"""The caller of a management route: which permissions he holds, and how far each of them reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ailink.identity.roles import (
    OWN,
    OWN_READ,
    PERMISSIONS,
    READ_ONLY_ROLES,
    Permissions,
    permissions_of,
)
from ailink.store.database import Queries
from ailink.store.keys import KeyRecord
from ailink.store.reach import EVERYWHERE, Reach
from ailink.store.rows import Match
from ailink.store.tenancy import Membership, User, custom_roles, memberships, teams, users

NOTHING: Permissions = frozenset()
# What a key that belongs to nobody, or that may not act for its user, sees of the world around it.
_KEY_IN_TEAM = frozenset({"teams.read"})


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """`teams` holds teams below those the caller is a member of as well. `own`: on what is the user's own."""

    key_id: str = ""
    user_id: str | None = None
    platform: Permissions = NOTHING
    orgs: Mapping[str, Permissions] = {}
    teams: Mapping[str, Permissions] = {}
    own: Permissions = NOTHING
    # Key routes that plain members of a team may call on their own keys there.
    member_permissions: Mapping[str, Sequence[str]] = {}
    # The organization of each team in `teams`.
    team_orgs: Mapping[str, str | None] = {}
    # Where the caller's user was made.
    org_id: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.platform == PERMISSIONS

    def holds(self, permission: str) -> bool:
        """Whether it is held anywhere: what a route asks before a handler asks about an object."""
        return (
            permission in self.platform
            or permission in self.own
            or any(permission in held for held in self.orgs.values())
            or any(permission in held for held in self.teams.values())
        )

    def may(
        self, permission: str, *, org: str | None = None, team: str | None = None, user: str | None = None
    ) -> bool:
        """Whether it reaches an object of this organization, team or user."""
        return (
            permission in self.platform
            or (org is not None and permission in self.orgs.get(org, NOTHING))
            or (team is not None and permission in self.teams.get(team, NOTHING))
            or (user is not None and user == self.user_id and permission in self.own)
        )

    def reach(self, permission: str) -> Reach:
        """The rows on which the permission is held."""
        if permission in self.platform:
            return EVERYWHERE
        return Reach(
            orgs=frozenset(org for org, held in self.orgs.items() if permission in held),
            teams=frozenset(team for team, held in self.teams.items() if permission in held),
            user=self.user_id if permission in self.own else None,
        )

    def covers(self, other: Actor) -> bool:
        """Whether everything the other may do, this one may do too."""

        def in_org(org: str | None) -> Permissions:
            return self.platform | (NOTHING if org is None else self.orgs.get(org, NOTHING))

        return (
            other.platform <= self.platform
            and all(held <= in_org(org) for org, held in other.orgs.items())
            and all(
                held <= in_org(other.team_orgs.get(team)) | self.teams.get(team, NOTHING)
                for team, held in other.teams.items()
            )
        )


ADMIN = Actor(key_id="master", platform=PERMISSIONS)


async def actor_of_key(queries: Queries, record: KeyRecord) -> Actor:
    """Who calls with this key: its user where the key may act for him, else the key for itself."""
    user = None
    if record.user_id is not None and record.acts_as_user:
        user = await users.get(queries, EVERYWHERE, record.user_id)
    if user is not None and not user.blocked:
        return await actor_of_user(queries, user, record.id)
    team = {} if record.team_id is None else {record.team_id: _KEY_IN_TEAM}
    return Actor(key_id=record.id, teams=team, org_id=record.org_id)


async def actor_of_user(queries: Queries, user: User, key_id: str = "") -> Actor:
    joined = await memberships.find(queries, EVERYWHERE, Match(equal={"user_id": user.id}))
    custom = {role.id: frozenset(role.permissions) for role in await custom_roles.find(queries, EVERYWHERE)}
    platform = permissions_of("platform", user.role, custom)
    held_orgs = {
        m.holder_id: permissions_of("organization", m.role, custom)
        for m in joined
        if m.kind == "organization"
    }
    held_teams, member_permissions, team_orgs = await _teams(queries, joined, custom)
    return Actor(
        key_id=key_id,
        user_id=user.id,
        platform=platform,
        orgs=held_orgs,
        teams=held_teams,
        own=OWN_READ if user.role in READ_ONLY_ROLES else OWN,
        member_permissions=member_permissions,
        team_orgs=team_orgs,
        org_id=user.org_id,
    )


async def _teams(
    queries: Queries, joined: Sequence[Membership], custom: Mapping[str, Permissions]
) -> tuple[dict[str, Permissions], dict[str, Sequence[str]], dict[str, str | None]]:
    """Permissions per team, inherited by the teams below; what plain members may do; whose the teams are."""
    direct = {m.holder_id: permissions_of("team", m.role, custom) for m in joined if m.kind == "team"}
    held = dict(direct)
    allowed: dict[str, Sequence[str]] = {}
    waiting = list(direct)
    orgs: dict[str, str | None] = {}
    for team in (await teams.many(queries, EVERYWHERE, direct)).values():
        allowed[team.id] = team.member_permissions
        orgs[team.id] = team.org_id
    seen = set(waiting)
    while waiting:
        below = await teams.find(queries, EVERYWHERE, Match(one_of={"parent_id": waiting}))
        waiting = []
        for team in below:
            held[team.id] = held.get(team.id, NOTHING) | held.get(team.parent_id or "", NOTHING)
            orgs[team.id] = team.org_id
            if team.id not in seen:
                seen.add(team.id)
                waiting.append(team.id)
    return held, allowed, orgs
