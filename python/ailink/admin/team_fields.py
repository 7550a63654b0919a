"""Bodies, queries and answers of `/team/*`, with LiteLLM's field names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.limit_fields import Limits
from ailink.admin.money_fields import Difference, Money, Window
from ailink.admin.setting_fields import (
    HolderFields,
    HolderView,
    Identifier,
    Limit,
    Models,
    Name,
    Request,
    TokenLimit,
)
from ailink.ledger.money import Usd

TeamRole = Annotated[str, Meta(min_length=1, max_length=255)]


class TeamMember(Request, frozen=True, kw_only=True):
    """Who, and as what."""

    role: TeamRole = "user"
    user_id: Identifier | None = None
    user_email: Name | None = None


class TeamChanges(HolderFields, frozen=True, kw_only=True):
    """Settings to change; null takes one away. `team_member_*`: what each member has."""

    team_alias: Name | UnsetType | None = UNSET
    organization_id: Identifier | UnsetType | None = UNSET
    parent_team_id: Identifier | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET
    team_member_budget: Money | UnsetType | None = UNSET
    team_member_budget_duration: Window | UnsetType | None = UNSET
    team_member_rpm_limit: Limit | UnsetType | None = UNSET
    team_member_tpm_limit: TokenLimit | UnsetType | None = UNSET
    default_team_member_models: Models | UnsetType | None = UNSET
    team_member_permissions: list[str] | UnsetType | None = UNSET


class NewTeam(TeamChanges, frozen=True, kw_only=True):
    team_id: Identifier | None = None
    admins: list[Identifier] = []
    members: list[Identifier] = []
    members_with_roles: Annotated[list[TeamMember], Meta(max_length=500)] = []


class UpdateTeam(TeamChanges, frozen=True, kw_only=True):
    team_id: Identifier


class OneTeam(Request, frozen=True, kw_only=True):
    team_id: Identifier


class DeleteTeams(Request, frozen=True, kw_only=True):
    team_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=100)]


class TeamQuery(Request, frozen=True, kw_only=True):
    team_id: str
    key_limit: Annotated[int, Meta(ge=0, le=1_000)] | None = None


class TeamsQuery(Request, frozen=True, kw_only=True):
    user_id: str | None = None
    organization_id: str | None = None


class TeamPageQuery(Request, frozen=True, kw_only=True):
    user_id: str | None = None
    organization_id: str | None = None
    team_id: str | None = None
    team_alias: str | None = None
    search: Annotated[str | None, Meta(description="Part of an alias, or an id.")] = None
    search_team_id_match: Annotated[
        Literal["exact", "prefix"], Meta(description="Whether `search` is an id or begins one.")
    ] = "exact"
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=500)] = 10
    sort_by: Literal["created_at", "team_alias", "team_id"] | None = None
    sort_order: Literal["asc", "desc"] = "asc"


class AddTeamMembers(Request, frozen=True, kw_only=True):
    team_id: Identifier
    member: list[TeamMember] | TeamMember
    max_budget_in_team: Money | None = None
    budget_duration: Window | None = None
    allowed_models: Models | None = None


class BulkAddTeamMembers(Request, frozen=True, kw_only=True):
    team_id: Identifier
    members: Annotated[list[TeamMember], Meta(min_length=1, max_length=500)]
    max_budget_in_team: Money | None = None


class UpdateTeamMember(Request, frozen=True, kw_only=True):
    team_id: Identifier
    user_id: Identifier | None = None
    user_email: Name | None = None
    role: TeamRole | None = None
    max_budget_in_team: Money | UnsetType | None = UNSET
    budget_duration: Window | UnsetType | None = UNSET
    tpm_limit: TokenLimit | UnsetType | None = UNSET
    rpm_limit: Limit | UnsetType | None = UNSET
    limits: Limits | UnsetType | None = UNSET
    allowed_models: Models | UnsetType | None = UNSET
    temp_budget_increase: Difference | UnsetType | None = UNSET
    temp_budget_expiry: datetime | UnsetType | None = UNSET


class DeleteTeamMember(Request, frozen=True, kw_only=True):
    team_id: Identifier
    user_id: Identifier | None = None
    user_email: Name | None = None


class TeamModels(Request, frozen=True, kw_only=True):
    team_id: Identifier
    models: Annotated[list[Name], Meta(min_length=1, max_length=1_000)]


class TeamPermissions(Request, frozen=True, kw_only=True):
    team_id: Identifier
    team_member_permissions: Annotated[list[str], Meta(max_length=100)]


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    user_email: str | None
    role: str


class TeamView(HolderView, frozen=True, kw_only=True):
    """A team as LiteLLM's clients know it."""

    team_id: str
    team_alias: str | None
    organization_id: str | None
    parent_team_id: str | None
    blocked: bool
    admins: list[str]
    members: list[str]
    members_with_roles: list[MemberView]
    team_member_permissions: list[str]
    default_team_member_models: list[str]
    team_member_budget: Usd | None
    team_member_budget_duration: str | None
    team_member_rpm_limit: int | None
    team_member_tpm_limit: int | None
    litellm_model_table: None = None
    object_permission: None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class MembershipView(msgspec.Struct, frozen=True, kw_only=True):
    """What a member may spend in the team, and has spent."""

    user_id: str
    team_id: str
    role: str
    budget_id: str | None
    spend: Usd
    litellm_budget_table: Any


class TeamInfoView(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    team_info: TeamView
    keys: list[Any]
    team_memberships: list[MembershipView]


class UpdatedTeam(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    data: TeamView


class TeamPage(msgspec.Struct, frozen=True, kw_only=True):
    teams: list[TeamView]
    total: int
    page: int
    page_size: int
    total_pages: int


class TeamWithAdded(TeamView, frozen=True, kw_only=True):
    updated_users: list[dict[str, Any]]
    updated_team_memberships: list[MembershipView]


class AddResult(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str | None
    user_email: str | None
    success: bool
    error: str | None = None


class BulkAdded(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    results: list[AddResult]
    total_requested: int
    successful_additions: int
    failed_additions: int
    updated_team: TeamView


class UpdatedMember(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    user_email: str | None
    team_id: str
    role: str
    max_budget_in_team: Usd | None
    tpm_limit: int | None
    rpm_limit: int | None
    limits: list[dict[str, Any]]
    budget_duration: str | None
    allowed_models: list[str]
    temp_budget_increase: Usd | None
    temp_budget_expiry: datetime | None


class PermissionsView(msgspec.Struct, frozen=True, kw_only=True):
    team_id: str
    team_member_permissions: list[str]
    all_available_permissions: list[str]


class DeletedTeams(msgspec.Struct, frozen=True, kw_only=True):
    deleted_teams: list[str]
    deleted_keys: int
