"""Bodies, queries and answers of `/key/*`, with LiteLLM's field names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.ledger.money import Usd
from ailink.store.keys import SortBy, State

# `$` alone would let a final newline pass.
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=255, description="A model, an alias, or a pattern with `*`.")
]
Models = Annotated[
    list[ModelName], Meta(max_length=1_000, description="Models the key may use; empty means all.")
]
Limit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Route = Annotated[str, Meta(min_length=1, max_length=255)]
Routes = Annotated[
    list[Route],
    Meta(
        max_length=200,
        description="Paths the key may call, or `llm_api_routes` for all model endpoints; empty means all.",
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
KeyType = Literal["default", "llm_api"]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class GenerateKey(_Request, frozen=True, kw_only=True):
    """A new virtual key."""

    key: RawKey | None = None
    key_alias: Name | None = None
    duration: Duration | None = None
    models: Models | None = None
    user_id: Name | None = None
    rpm_limit: Limit | None = None
    max_parallel_requests: Limit | None = None
    metadata: dict[str, Any] | None = None
    blocked: bool | None = None
    allowed_routes: Routes | None = None
    allowed_ips: Networks | None = None
    key_type: KeyType | None = None


class KeyChanges(_Request, frozen=True, kw_only=True):
    """Settings to change. A field that is left out stays; null takes the setting away."""

    key_alias: Name | UnsetType | None = UNSET
    duration: Duration | UnsetType | None = UNSET
    models: Models | UnsetType | None = UNSET
    user_id: Name | UnsetType | None = UNSET
    rpm_limit: Limit | UnsetType | None = UNSET
    max_parallel_requests: Limit | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET
    allowed_routes: Routes | UnsetType | None = UNSET
    allowed_ips: Networks | UnsetType | None = UNSET
    key_type: KeyType | UnsetType | None = UNSET


class UpdateKey(KeyChanges, frozen=True, kw_only=True):
    key: KeyName


class RegenerateKey(KeyChanges, frozen=True, kw_only=True):
    key: KeyName | None = None
    new_key: RawKey | None = None


class DeleteKeys(_Request, frozen=True, kw_only=True):
    """All of them or, when one is not found, none."""

    keys: Annotated[list[KeyName], Meta(max_length=1_000)] | None = None
    key_aliases: Annotated[list[Name], Meta(max_length=1_000)] | None = None


class OneKey(_Request, frozen=True, kw_only=True):
    key: KeyName


class PairOf(_Request, frozen=True, kw_only=True):
    """`key` left out: the caller's own."""

    key: KeyName | None = None


class AwsKeyPairView(msgspec.Struct, frozen=True, kw_only=True):
    """What an AWS client is configured with, beside the gateway's address as its endpoint."""

    key_id: str
    aws_access_key_id: str
    aws_secret_access_key: str


class KeyInfoQuery(_Request, frozen=True, kw_only=True):
    key: KeyName | None = None


class ListQuery(_Request, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 10
    user_id: str | None = None
    key_hash: str | None = None
    key_alias: str | None = None
    search: Annotated[str | None, Meta(description="Part of an alias.")] = None
    substring_matching: Annotated[bool, Meta(description="`key_alias` is a part of the alias.")] = False
    status: State | None = None
    sort_by: SortBy | None = None
    sort_order: Literal["asc", "desc"] = "desc"
    return_full_object: bool = False
    # Nothing to add: there are no teams, and every key is in the list already.
    include_team_keys: bool = False
    include_created_by_keys: bool = False


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A key's settings and spend. Fields that LiteLLM has and this version does not use hold null or are
    empty.
    """

    key_id: str
    key_name: str
    key_alias: str | None
    status: State
    spend: Usd
    models: list[str]
    expires: datetime | None
    duration: str | None
    user_id: str | None
    rpm_limit: int | None
    max_parallel_requests: int | None
    metadata: dict[str, Any]
    blocked: bool
    allowed_routes: list[str]
    allowed_ips: list[str]
    last_active: Annotated[datetime | None, Meta(description="Last use since the gateway started.")]
    rotation_count: int
    last_rotation_at: datetime | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    deleted_at: datetime | UnsetType = UNSET
    deleted_by: str | UnsetType = UNSET
    team_id: None = None
    org_id: str | None = None
    organization_id: str | None = None
    max_budget: None = None
    budget_id: None = None
    budget_duration: None = None
    budget_reset_at: None = None
    tpm_limit: None = None
    litellm_budget_table: None = None
    aliases: dict[str, str] = {}
    config: dict[str, str] = {}
    permissions: dict[str, str] = {}


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
