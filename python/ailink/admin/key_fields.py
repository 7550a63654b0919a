"""Bodies, queries and answers of `/key/*`, with LiteLLM's field names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.money_fields import Money
from ailink.admin.setting_fields import BudgetView, HolderFields, HolderView, Identifier, Name, Request, Tags
from ailink.ledger.money import Usd
from ailink.store.keys import SortBy, State

Route = Annotated[str, Meta(min_length=1, max_length=255)]
Routes = Annotated[
    list[Route],
    Meta(
        max_length=200,
        description=(
            "Paths the key may call, or `llm_api_routes`, `management_routes`, `info_routes`; "
            "empty means all."
        ),
    ),
]
Networks = Annotated[
    list[Annotated[str, Meta(min_length=2, max_length=64)]],
    Meta(
        max_length=1_000,
        description="Addresses and networks (`10.0.0.0/8`) the key may be used from; empty means any.",
    ),
]
Duration = Annotated[
    str, Meta(max_length=12, description="Lifetime from now: `30s`, `30m`, `30h`, `30d`, `2w`, `1mo`.")
]
RawKey = Annotated[
    str,
    Meta(
        min_length=16,
        max_length=256,
        pattern=r"^sk-[!-~]*$(?!\n)",
        description="A key of your own: `sk-`, at least 16 characters.",
    ),
]
# Any of the three ways to name a key.
KeyName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        description="The key itself, its `token`, or the SHA-256 of the key in hexadecimal.",
    ),
]
KeyType = Literal["default", "llm_api", "management", "read_only"]


class KeyChanges(HolderFields, frozen=True, kw_only=True):
    """Settings to change. A field that is left out stays; null takes the setting away."""

    key_alias: Name | UnsetType | None = UNSET
    duration: Duration | UnsetType | None = UNSET
    user_id: Name | UnsetType | None = UNSET
    team_id: Identifier | UnsetType | None = UNSET
    project_id: Identifier | UnsetType | None = UNSET
    organization_id: Identifier | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET
    allowed_routes: Routes | UnsetType | None = UNSET
    allowed_ips: Networks | UnsetType | None = UNSET
    key_type: KeyType | UnsetType | None = UNSET
    auto_rotate: bool | UnsetType | None = UNSET
    rotation_interval: Duration | UnsetType | None = UNSET


class GenerateKey(KeyChanges, frozen=True, kw_only=True):
    """A new virtual key."""

    key: RawKey | None = None


class ServiceAccountKey(GenerateKey, frozen=True, kw_only=True):
    """A key of a team that belongs to no person."""

    team_id: Identifier
    service_account: Name | None = None


class UpdateKey(KeyChanges, frozen=True, kw_only=True):
    key: KeyName


class RegenerateKey(KeyChanges, frozen=True, kw_only=True):
    key: KeyName | None = None
    new_key: RawKey | None = None
    grace_period: Annotated[
        Duration | None, Meta(description="How long the old secret goes on working beside the new one.")
    ] = None


class RegenerateQuery(Request, frozen=True, kw_only=True):
    key: KeyName | None = None


class DeleteKeys(Request, frozen=True, kw_only=True):
    """All of them or, when one is not found, none."""

    keys: Annotated[list[KeyName], Meta(max_length=1_000)] | None = None
    key_aliases: Annotated[list[Name], Meta(max_length=1_000)] | None = None


class OneKey(Request, frozen=True, kw_only=True):
    key: KeyName


class PairOf(Request, frozen=True, kw_only=True):
    """`key` left out: the caller's own."""

    key: KeyName | None = None


class AwsKeyPairView(msgspec.Struct, frozen=True, kw_only=True):
    """What an AWS client is configured with, beside the gateway's address as its endpoint."""

    key_id: str
    aws_access_key_id: str
    aws_secret_access_key: str


class KeyInfoQuery(Request, frozen=True, kw_only=True):
    key: KeyName | None = None


class ListQuery(Request, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 10
    user_id: str | None = None
    team_id: str | None = None
    project_id: str | None = None
    organization_id: str | None = None
    created_by: str | None = None
    key_hash: str | None = None
    key_alias: str | None = None
    search: Annotated[str | None, Meta(description="Part of an alias.")] = None
    substring_matching: Annotated[bool, Meta(description="`key_alias` is a part of the alias.")] = False
    status: State | None = None
    sort_by: SortBy | None = None
    sort_order: Literal["asc", "desc"] = "desc"
    return_full_object: bool = False
    # Nothing to add: whatever the caller may see is in the list already.
    include_team_keys: bool = False
    include_created_by_keys: bool = False


class KeyInfo(HolderView, frozen=True, kw_only=True):
    """A key's settings and spend. Fields that LiteLLM has and this version does not use hold null or are
    empty.
    """

    key_id: str
    key_name: str
    key_alias: str | None
    status: State
    expires: datetime | None
    duration: str | None
    user_id: str | None
    team_id: str | None
    project_id: str | None
    org_id: str | None
    organization_id: str | None
    service_account: str | None
    key_type: str
    blocked: bool
    allowed_routes: list[str]
    allowed_ips: list[str]
    last_active: Annotated[
        datetime | None, Meta(description="The last request to a model, answered or refused, on any node.")
    ]
    last_active_address: Annotated[str | None, Meta(description="Where it came from.")]
    auto_rotate: bool
    rotation_interval: str | None
    rotation_count: int
    last_rotation_at: datetime | None
    key_rotation_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    deleted_at: datetime | UnsetType = UNSET
    deleted_by: str | UnsetType = UNSET
    litellm_budget_table: BudgetView | None = None
    aliases: dict[str, str] = {}
    config: dict[str, str] = {}
    permissions: dict[str, str] = {}
    router_settings: None = None
    object_permission: None = None
    agent_id: None = None


class KeyRowView(KeyInfo, frozen=True, kw_only=True):
    token: str


class NewKeyView(KeyRowView, frozen=True, kw_only=True):
    """A key that was just made. `key` is shown this once and cannot be read again."""

    key: str
    token_id: str


class KeyInfoView(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    info: KeyInfo


class UpdatedKeyView(KeyInfo, frozen=True, kw_only=True):
    key: str


class DeletedKeysView(msgspec.Struct, frozen=True, kw_only=True):
    deleted_keys: list[str]


class KeyListView(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[str | KeyRowView]
    total_count: int
    current_page: int
    total_pages: int


class KeysQuery(Request, frozen=True, kw_only=True):
    """Several keys at once."""

    keys: Annotated[list[KeyName], Meta(min_length=1, max_length=1_000)]


class KeysInfoView(msgspec.Struct, frozen=True, kw_only=True):
    key: list[str]
    info: list[KeyRowView]


class AliasQuery(Request, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 50
    search: str | None = None
    team_id: str | None = None


class AliasesView(msgspec.Struct, frozen=True, kw_only=True):
    aliases: list[str]
    total_count: int
    current_page: int
    total_pages: int
    size: int


class BulkKey(Request, frozen=True, kw_only=True):
    key: KeyName
    budget_id: Identifier | UnsetType | None = UNSET
    max_budget: Money | UnsetType | None = UNSET
    team_id: Identifier | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET


class BulkUpdateKeys(Request, frozen=True, kw_only=True):
    keys: Annotated[list[BulkKey], Meta(min_length=1, max_length=500)]


class UpdatedKey(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    key_info: KeyInfo


class FailedKey(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    failed_reason: str
    status: int


class BulkUpdatedView(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to each; one that failed changes nothing about the others."""

    total_requested: int
    successful_updates: list[UpdatedKey]
    failed_updates: list[FailedKey]


class ResetSpend(Request, frozen=True, kw_only=True):
    reset_to: Money = 0


class ResetSpendView(msgspec.Struct, frozen=True, kw_only=True):
    key_hash: str
    spend: Usd
    previous_spend: Usd
    max_budget: Usd | None
    budget_reset_at: datetime | None


class KeyHealthView(msgspec.Struct, frozen=True, kw_only=True):
    key: Literal["healthy", "unhealthy"]
    logging_callbacks: None = None
