"""Organizations, teams, projects, users and who is a member of what."""

from __future__ import annotations

from typing import Literal

import msgspec

from ailink.store.rows import Record, Rows
from ailink.store.settings import Settings

HolderKind = Literal["organization", "team"]


class Organization(Record, frozen=True, kw_only=True):
    """`org_id` is its own id."""

    alias: str | None = None
    blocked: bool = False
    settings: Settings = Settings()


class Team(Record, frozen=True, kw_only=True):
    """A team may stand below another: what holds there holds here too."""

    parent_id: str | None = None
    alias: str | None = None
    blocked: bool = False
    settings: Settings = Settings()
    member_settings: Settings = Settings()
    member_permissions: tuple[str, ...] = ()


class Project(Record, frozen=True, kw_only=True):
    team_id: str
    alias: str | None = None
    description: str | None = None
    blocked: bool = False
    settings: Settings = Settings()


class User(Record, frozen=True, kw_only=True):
    """`role`: over the whole gateway; what a user may do in an organization or a team says the membership."""

    email: str | None = None
    alias: str | None = None
    sso_id: str | None = None
    role: str = "member"
    blocked: bool = False
    settings: Settings = Settings()


class Membership(Record, frozen=True, kw_only=True):
    kind: HolderKind
    holder_id: str
    user_id: str
    role: str
    settings: Settings = Settings()


class Customer(Record, frozen=True, kw_only=True):
    """An end user: known by what clients send as `user`. `name` is unique within an organization."""

    name: str
    alias: str | None = None
    blocked: bool = False
    settings: Settings = Settings()


class Tag(Record, frozen=True, kw_only=True):
    """A label of requests. `name` is unique within an organization."""

    name: str
    description: str | None = None
    settings: Settings = Settings()


class Budget(Record, frozen=True, kw_only=True):
    """Limits that many holders can be given by id; each holder spends its own."""

    settings: Settings = Settings()


class AccessGroup(Record, frozen=True, kw_only=True):
    """A name for several models."""

    name: str
    description: str | None = None
    models: tuple[str, ...] = ()


class CustomRole(Record, frozen=True, kw_only=True):
    name: str
    permissions: tuple[str, ...] = ()


_MEMBERS = "SELECT user_id FROM membership WHERE 1 = 1"

organizations = Rows("organization", Organization)
teams = Rows("team", Team, team="id")
projects = Rows("project", Project, team="team_id")
users = Rows("app_user", User, user="id", extra=_MEMBERS)
memberships = Rows("membership", Membership, team="holder_id", user="user_id")
customers = Rows("customer", Customer)
tags = Rows("tag", Tag)
budgets = Rows("budget", Budget)
access_groups = Rows("access_group", AccessGroup)
custom_roles = Rows("custom_role", CustomRole)


def membership_id(kind: HolderKind, holder_id: str, user_id: str) -> str:
    return f"{kind}:{holder_id}:{user_id}"


def named_id(org_id: str | None, name: str) -> str:
    """The id of a row whose name is unique within its organization."""
    return name if org_id is None else f"{org_id}/{name}"


def is_set(settings: Settings) -> bool:
    """Whether anything is set at all."""
    return settings != Settings()


def encode(record: Record) -> str:
    """A row as JSON, for the archive."""
    return msgspec.json.encode(record).decode()
