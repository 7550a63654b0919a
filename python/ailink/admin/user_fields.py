"""Bodies, queries and answers of `/user/*`, with LiteLLM's field names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.key_fields import Duration, KeyRowView, KeyType
from ailink.admin.money_fields import Money
from ailink.admin.setting_fields import HolderFields, HolderView, Identifier, Name, Request
from ailink.admin.team_fields import TeamView

# LiteLLM's names and ours, or a custom role.
UserRole = Annotated[str, Meta(min_length=1, max_length=255)]
Email = Annotated[
    str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$(?!\n)")
]


class UserTeam(Request, frozen=True, kw_only=True):
    team_id: Identifier
    max_budget_in_team: Money | None = None
    user_role: Literal["user", "admin"] = "user"


class UserChanges(HolderFields, frozen=True, kw_only=True):
    """Settings to change; null takes one away."""

    user_email: Email | UnsetType | None = UNSET
    user_alias: Name | UnsetType | None = UNSET
    user_role: UserRole | UnsetType | None = UNSET
    sso_user_id: Name | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET


class NewUser(UserChanges, frozen=True, kw_only=True):
    """A user, and unless `auto_create_key` is false a key of his."""

    user_id: Identifier | None = None
    team_id: Identifier | None = None
    teams: list[Identifier | UserTeam] | None = None
    organizations: list[Identifier] | None = None
    auto_create_key: bool = True
    key_alias: Name | None = None
    duration: Duration | None = None
    key_type: KeyType | None = None


class UpdateUser(UserChanges, frozen=True, kw_only=True):
    user_id: Identifier | None = None


class BulkUpdateUsers(Request, frozen=True, kw_only=True):
    users: Annotated[list[UpdateUser], Meta(min_length=1, max_length=500)]


class DeleteUsers(Request, frozen=True, kw_only=True):
    user_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=500)]


class UserQuery(Request, frozen=True, kw_only=True):
    user_id: str | None = None


class UserListQuery(Request, frozen=True, kw_only=True):
    role: str | None = None
    user_ids: str | None = None
    sso_user_ids: str | None = None
    user_email: str | None = None
    search: str | None = None
    team: str | None = None
    organization_ids: str | None = None
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=500)] = 25
    sort_by: Literal["user_id", "user_email", "created_at", "user_role", "user_alias"] | None = None
    sort_order: Literal["asc", "desc"] = "asc"


class UserView(HolderView, frozen=True, kw_only=True):
    """A user as LiteLLM's clients know him."""

    user_id: str
    user_email: str | None
    user_alias: str | None
    user_role: str
    sso_user_id: str | None
    blocked: bool
    organization_id: str | None
    teams: list[str]
    organizations: list[str]
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class ListedUser(UserView, frozen=True, kw_only=True):
    key_count: int


class NewUserView(UserView, frozen=True, kw_only=True):
    """`key` is shown this once; null where none was made."""

    key: str | None = None
    token: str | None = None
    token_id: str | None = None
    key_name: str | None = None
    key_alias: str | None = None
    expires: datetime | None = None


class UserInfoView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    user_info: UserView
    keys: list[KeyRowView]
    teams: list[TeamView]


class UserListView(msgspec.Struct, frozen=True, kw_only=True):
    users: list[ListedUser]
    total: int
    page: int
    page_size: int
    total_pages: int


class UpdatedUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    data: UserView


class UserResult(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str | None
    user_email: str | None
    success: bool
    error: str | None = None
    updated_user: UserView | None = None


class BulkUpdatedUsers(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to each; one that failed changes nothing about the others."""

    results: list[UserResult]
    total_requested: int
    successful_updates: int
    failed_updates: int


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    ui_label: str
    description: str
    permissions: list[str]


Roles = dict[str, RoleView]
AnyRow = dict[str, Any]
