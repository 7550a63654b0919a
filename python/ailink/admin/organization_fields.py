"""Bodies, queries and answers of `/organization/*`, with LiteLLM's field names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.money_fields import Money
from ailink.admin.setting_fields import BudgetView, HolderFields, HolderView, Identifier, Name, Request
from ailink.ledger.money import Usd

# LiteLLM's names and ours; custom roles are checked by the service.
OrganizationRole = Annotated[str, Meta(min_length=1, max_length=255)]


class OrganizationChanges(HolderFields, frozen=True, kw_only=True):
    """Settings to change; null takes one away."""

    organization_alias: Name | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET


class NewOrganization(OrganizationChanges, frozen=True, kw_only=True):
    organization_alias: Name
    organization_id: Identifier | None = None


class UpdateOrganization(OrganizationChanges, frozen=True, kw_only=True):
    organization_id: Identifier


class DeleteOrganizations(Request, frozen=True, kw_only=True):
    organization_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=100)]


class OrganizationQuery(Request, frozen=True, kw_only=True):
    organization_id: str


class OrganizationsInfo(Request, frozen=True, kw_only=True):
    organizations: Annotated[list[Identifier], Meta(min_length=1, max_length=100)]


class OrganizationList(Request, frozen=True, kw_only=True):
    org_id: str | None = None
    org_alias: str | None = None


class OrganizationMember(Request, frozen=True, kw_only=True):
    role: OrganizationRole
    user_id: Identifier | None = None
    user_email: Name | None = None


class AddOrganizationMembers(Request, frozen=True, kw_only=True):
    organization_id: Identifier
    member: list[OrganizationMember] | OrganizationMember
    max_budget_in_organization: Money | None = None


class UpdateOrganizationMember(Request, frozen=True, kw_only=True):
    organization_id: Identifier
    user_id: Identifier | None = None
    user_email: Name | None = None
    role: OrganizationRole | None = None
    max_budget_in_organization: Money | UnsetType | None = UNSET


class DeleteOrganizationMember(Request, frozen=True, kw_only=True):
    organization_id: Identifier
    user_id: Identifier | None = None
    user_email: Name | None = None


class OrganizationMemberView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    organization_id: str
    user_role: str
    spend: Usd
    budget_id: str | None
    user_email: str | None
    litellm_budget_table: BudgetView
    created_at: datetime
    updated_at: datetime


class OrganizationView(HolderView, frozen=True, kw_only=True):
    """An organization with its members and teams."""

    organization_id: str
    organization_alias: str | None
    blocked: bool
    litellm_budget_table: BudgetView
    members: list[OrganizationMemberView] = []
    teams: list[dict[str, Any]] = []
    users: list[dict[str, Any]] = []
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class AddedOrganizationMembers(msgspec.Struct, frozen=True, kw_only=True):
    organization_id: str
    updated_users: list[dict[str, Any]]
    updated_organization_memberships: list[OrganizationMemberView]


class MemberRemoved(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    organization_id: str
    status: Literal["deleted"] = "deleted"
