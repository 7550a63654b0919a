"""Permissions, and the roles that bundle them.

A role is held over the whole gateway (on the user), in an organization or in a team (on the membership); the
same permission then reaches as far as the place where it is held. LiteLLM's names stand for ours.
"""

from __future__ import annotations

from collections.abc import Mapping

NOUNS = (
    "organizations",
    "teams",
    "members",
    "projects",
    "users",
    "keys",
    "customers",
    "tags",
    "budgets",
    "access_groups",
    "models",
    "roles",
    "spend",
    "audit",
    "credentials",
    "operation",
    "approvals",
)
PERMISSIONS = frozenset(f"{noun}.{action}" for noun in NOUNS for action in ("read", "write"))
Permissions = frozenset[str]


def _read(*but: str) -> Permissions:
    return frozenset(f"{noun}.read" for noun in NOUNS if noun not in but)


_TEAM_ADMIN = frozenset(
    {"teams.read", "teams.write", "members.read", "members.write", "projects.read", "projects.write"}
    | {"keys.read", "keys.write", "users.read", "spend.read", "tags.read"}
)
# Only the operator's, wherever they are held: they are about the gateway, not about a tenant.
PLATFORM_ONLY = frozenset({"operation.write", "operation.read", "credentials.read", "credentials.write"}) | {
    "models.write"
}

# Over the whole gateway.
PLATFORM_ROLES: Mapping[str, Permissions] = {
    "owner": PERMISSIONS,
    "admin": PERMISSIONS,
    "auditor": _read(),
    "viewer": _read("audit", "credentials", "spend"),
    "billing": _read("audit", "credentials") | {"budgets.write", "spend.write"},
    "member": frozenset(),
    "member_viewer": frozenset(),
}
# In an organization.
ORGANIZATION_ROLES: Mapping[str, Permissions] = {
    "owner": PERMISSIONS - PLATFORM_ONLY,
    # An organization's own budget and existence are its owner's and the operator's.
    "admin": PERMISSIONS - PLATFORM_ONLY - {"organizations.write"},
    "auditor": _read() - PLATFORM_ONLY,
    "viewer": _read("audit", "spend") - PLATFORM_ONLY,
    "billing": (_read("audit") - PLATFORM_ONLY) | {"budgets.write", "spend.write"},
    "member": frozenset({"organizations.read"}),
    "member_viewer": frozenset({"organizations.read"}),
}
# In a team.
TEAM_ROLES: Mapping[str, Permissions] = {
    "owner": _TEAM_ADMIN,
    "admin": _TEAM_ADMIN,
    "auditor": frozenset({"teams.read", "members.read", "projects.read", "keys.read", "spend.read"}),
    "viewer": frozenset({"teams.read", "members.read", "projects.read"}),
    "billing": frozenset({"teams.read", "spend.read"}),
    "member": frozenset({"teams.read", "projects.read"}),
    "member_viewer": frozenset({"teams.read", "projects.read"}),
}
# On what is a user's own.
OWN = frozenset({"users.read", "keys.read", "keys.write", "spend.read", "users.write"})
OWN_READ = frozenset({"users.read", "keys.read", "spend.read"})
READ_ONLY_ROLES = frozenset({"auditor", "viewer", "billing", "member_viewer"})

# LiteLLM's name → ours, by place.
PLATFORM_NAMES = {
    "proxy_admin": "admin",
    "proxy_admin_viewer": "auditor",
    "internal_user": "member",
    "internal_user_viewer": "member_viewer",
}
ORGANIZATION_NAMES = {
    "org_admin": "admin",
    "internal_user": "member",
    "internal_user_viewer": "member_viewer",
}
TEAM_NAMES = {"user": "member"}
_SHOWN_PLATFORM = {ours: theirs for theirs, ours in PLATFORM_NAMES.items()}
_SHOWN_ORGANIZATION = {ours: theirs for theirs, ours in ORGANIZATION_NAMES.items()}

PLACES: Mapping[str, tuple[Mapping[str, Permissions], Mapping[str, str]]] = {
    "platform": (PLATFORM_ROLES, PLATFORM_NAMES),
    "organization": (ORGANIZATION_ROLES, ORGANIZATION_NAMES),
    "team": (TEAM_ROLES, TEAM_NAMES),
}


def own_name(place: str, role: str) -> str:
    """Our name of a role that may be given under LiteLLM's."""
    return PLACES[place][1].get(role, role)


def shown_name(place: str, role: str) -> str:
    """The name under which LiteLLM's clients know the role."""
    shown = {"platform": _SHOWN_PLATFORM, "organization": _SHOWN_ORGANIZATION}.get(place, {"member": "user"})
    return shown.get(role, role)


def permissions_of(place: str, role: str, custom: Mapping[str, Permissions]) -> Permissions:
    """What a role grants at a place; nothing for one that is not known (any more)."""
    built_in = PLACES[place][0].get(role)
    if built_in is not None:
        return built_in
    granted = custom.get(role, frozenset())
    return granted if place == "platform" else granted - PLATFORM_ONLY
