"""The settings that organizations, teams, projects, users, members, customers, tags, budgets and keys share:
LiteLLM's fields in, `store.settings.Settings` inside, LiteLLM's fields out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.cache_fields import CacheFields, Controls, rule_of, shown
from ailink.admin.durations import instant, microseconds, next_reset, window_seconds
from ailink.admin.errors import bad_request
from ailink.admin.key_access import check_models
from ailink.admin.limit_fields import Limits, all_words
from ailink.admin.litellm_fields import METADATA, without_inert
from ailink.admin.money_fields import Difference, Money, Window, pico
from ailink.ledger.money import Usd, usd_or_none
from ailink.store.settings import BudgetWindow, ModelLimit, Settings

# `$` alone would let a final newline pass.
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$(?!\n)"
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=NO_CONTROLS)]
Identifier = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x20\x7f/]+$(?!\n)")]
Text = Annotated[str, Meta(max_length=4_096)]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=255, description="A model, an alias, or a pattern with `*`.")
]
Models = Annotated[
    list[ModelName], Meta(max_length=1_000, description="Models that may be used; empty means all.")
]
Limit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
TokenLimit = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Percents = Annotated[
    list[Annotated[int, Meta(ge=1, le=100)]],
    Meta(max_length=10, description="Percents of `max_budget` that are told of when they are passed."),
]
Tags = Annotated[list[Name], Meta(max_length=100)]
Guardrails = Annotated[
    list[Name],
    Meta(max_length=32, description="Guardrails that hold for every request, besides those above."),
]
GroupIds = Annotated[list[Name], Meta(max_length=100)]
METADATA_BYTES = 64 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body or query: what is not a field of it is an error."""


class BudgetEntry(Request, frozen=True, kw_only=True):
    """One of several budgets at once."""

    budget_duration: Window
    max_budget: Money
    reset_at: str | None = None


class ModelBudget(Request, frozen=True, kw_only=True):
    """Limits of one model. `budget_limit` and `time_period` are older names."""

    max_budget: Money | None = None
    budget_limit: Money | None = None
    budget_duration: Window | None = None
    time_period: Window | None = None
    tpm_limit: TokenLimit | None = None
    rpm_limit: Limit | None = None


ModelBudgets = Annotated[dict[ModelName, ModelBudget | Money], Meta(max_length=1_000)]
ModelLimits = Annotated[dict[ModelName, TokenLimit], Meta(max_length=1_000)]


class LimitFields(Request, frozen=True, kw_only=True):
    """Limits and budgets. A field that is left out stays as it is; null takes the setting away."""

    rpm_limit: Limit | UnsetType | None = UNSET
    tpm_limit: TokenLimit | UnsetType | None = UNSET
    tpd_limit: TokenLimit | UnsetType | None = UNSET
    max_parallel_requests: Limit | UnsetType | None = UNSET
    max_budget: Money | UnsetType | None = UNSET
    soft_budget: Money | UnsetType | None = UNSET
    budget_duration: Window | UnsetType | None = UNSET
    alert_at: Percents | UnsetType | None = UNSET
    model_max_budget: ModelBudgets | UnsetType | None = UNSET
    limits: Limits | UnsetType | None = UNSET
    temp_budget_increase: Difference | UnsetType | None = UNSET
    temp_budget_expiry: datetime | UnsetType | None = UNSET


class HolderFields(LimitFields, frozen=True, kw_only=True):
    """All inherited settings."""

    models: Models | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    budget_id: Identifier | UnsetType | None = UNSET
    budget_limits: Annotated[list[BudgetEntry], Meta(max_length=10)] | UnsetType | None = UNSET
    model_rpm_limit: ModelLimits | UnsetType | None = UNSET
    model_tpm_limit: ModelLimits | UnsetType | None = UNSET
    access_group_ids: GroupIds | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET
    guardrails: Guardrails | UnsetType | None = UNSET
    cache: CacheFields | UnsetType | None = UNSET
    allowed_cache_controls: Controls | UnsetType | None = UNSET


# Field → column, for fields that are stored as they come.
PLAIN = {
    "rpm_limit": "rpm_limit",
    "tpm_limit": "tpm_limit",
    "tpd_limit": "tpd_limit",
    "max_parallel_requests": "max_parallel",
    "budget_id": "budget_id",
}
AMOUNTS = ("max_budget", "soft_budget", "temp_budget_increase")
LISTS = {
    "access_group_ids": "access_groups", "tags": "tags", "alert_at": "alert_at", "guardrails": "guardrails",
    "allowed_cache_controls": "cache_controls",
}  # fmt: skip
# What loosens or tightens a holder: changed by those who are responsible for the budget above it.
LIMITING = frozenset(
    {*PLAIN, *AMOUNTS, "models", "budget_duration", "budget_limits", "model_max_budget", "model_rpm_limit"}
    | {
        "model_tpm_limit",
        "temp_budget_expiry",
        "access_group_ids",
        "alert_at",
        "guardrails",
        "cache",
        "allowed_cache_controls",
        "limits",
    }
)


NOTHING = Settings()


def given(request: msgspec.Struct) -> dict[str, Any]:
    """The fields that the request sets."""
    return {
        field: value for field in request.__struct_fields__ if (value := getattr(request, field)) is not UNSET
    }


def settings_of(request: msgspec.Struct, before: Settings = NOTHING) -> Settings:
    """`before` with what the request sets. Raises `ApiError` (400)."""
    fields = given(request)
    new: dict[str, Any] = {column: fields[field] for field, column in PLAIN.items() if field in fields}
    new |= {field: pico(fields[field], field) for field in AMOUNTS if field in fields}
    new |= {column: tuple(fields[field] or ()) for field, column in LISTS.items() if field in fields}
    if "models" in fields:
        new["models"] = tuple(fields["models"] or ())
        check_models(new["models"])
    if "budget_duration" in fields:
        new["budget_duration"] = _window(fields["budget_duration"], "budget_duration")
    if "temp_budget_expiry" in fields:
        expiry = fields["temp_budget_expiry"]
        new["temp_budget_expiry_us"] = None if expiry is None else microseconds(expiry)
    if "cache" in fields:
        new["cache"] = rule_of(fields["cache"])
    if "metadata" in fields:
        new["metadata"] = checked_metadata(fields["metadata"] or {})
    if "budget_limits" in fields:
        new["budget_windows"] = _windows(fields["budget_limits"] or [])
    if "limits" in fields:
        new["limits"] = all_words(fields["limits"] or [])
    if MODEL_FIELDS & fields.keys():
        new["model_limits"] = _model_limits(fields, before.model_limits)
    after = msgspec.structs.replace(before, **new)
    if after.temp_budget_increase is not None and after.temp_budget_expiry_us is None:
        raise bad_request("a temporary increase needs `temp_budget_expiry`", param="temp_budget_expiry")
    return after


MODEL_FIELDS = frozenset({"model_max_budget", "model_rpm_limit", "model_tpm_limit"})


def _model_limits(fields: Mapping[str, Any], before: Mapping[str, ModelLimit]) -> dict[str, ModelLimit]:
    """Three fields of the request become one setting per model; a field replaces all of its kind."""
    found: dict[str, dict[str, Any]] = {
        model: msgspec.structs.asdict(limit) for model, limit in before.items()
    }
    for field, column in (("model_rpm_limit", "rpm_limit"), ("model_tpm_limit", "tpm_limit")):
        if field in fields:
            for limits in found.values():
                limits[column] = None
            for model, value in (fields[field] or {}).items():
                found.setdefault(model, {})[column] = value
    if "model_max_budget" in fields:
        for limits in found.values():
            limits |= {"max_budget": None, "duration": None}
        for model, budget in (fields["model_max_budget"] or {}).items():
            found.setdefault(model, {}).update(_model_budget(model, budget))
    kept = {model: ModelLimit(**limits) for model, limits in found.items()}
    check_models(list(kept))
    return {model: limit for model, limit in kept.items() if limit != ModelLimit()}


def _model_budget(model: str, budget: ModelBudget | float) -> dict[str, Any]:
    path = f"model_max_budget.{model}"
    if not isinstance(budget, ModelBudget):
        return {"max_budget": pico(budget, path)}
    amount = budget.max_budget if budget.max_budget is not None else budget.budget_limit
    limits: dict[str, Any] = {
        "max_budget": pico(amount, path),
        "duration": _window(budget.budget_duration or budget.time_period, f"{path}.budget_duration"),
    }
    limits |= {"rpm_limit": budget.rpm_limit} if budget.rpm_limit is not None else {}
    return limits | ({"tpm_limit": budget.tpm_limit} if budget.tpm_limit is not None else {})


def _windows(entries: list[BudgetEntry]) -> tuple[BudgetWindow, ...]:
    found = []
    for position, entry in enumerate(entries):
        path = f"budget_limits[{position}]"
        duration = _window(entry.budget_duration, f"{path}.budget_duration")
        amount = pico(entry.max_budget, f"{path}.max_budget")
        found.append(BudgetWindow(duration=duration or "", max_budget=amount or 0))
    if len({window.duration for window in found}) != len(found):
        raise bad_request("two budgets of the same duration", param="budget_limits")
    return tuple(found)


def _window(duration: str | None, param: str) -> str | None:
    if duration is None:
        return None
    try:
        window_seconds(duration)
    except ValueError as error:
        raise bad_request(f"`{param}`: {error}", param=param) from error
    return duration


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    without_inert(metadata, METADATA, "metadata.")
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES:
        raise bad_request(f"metadata is larger than {METADATA_BYTES} bytes", param="metadata")
    return metadata


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """Limits as LiteLLM's budget table has them."""

    budget_id: str | None = None
    max_budget: Usd | None = None
    soft_budget: Usd | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tpd_limit: int | None = None
    model_max_budget: dict[str, Any] = {}
    budget_duration: str | None = None
    budget_reset_at: datetime | None = None
    temp_budget_increase: Usd | None = None
    temp_budget_expiry: datetime | None = None
    limits: list[dict[str, Any]] = []
    allowed_models: list[str] = []


def limit_values(settings: Settings, now_us: int) -> dict[str, Any]:
    """The fields of `BudgetView`, as far as settings tell them."""
    expiry = settings.temp_budget_expiry_us
    return {
        "max_budget": usd_or_none(settings.max_budget),
        "soft_budget": usd_or_none(settings.soft_budget),
        "max_parallel_requests": settings.max_parallel,
        "tpm_limit": settings.tpm_limit,
        "rpm_limit": settings.rpm_limit,
        "tpd_limit": settings.tpd_limit,
        "model_max_budget": {
            model: {"max_budget": usd_or_none(limit.max_budget), "budget_duration": limit.duration}
            for model, limit in settings.model_limits.items()
            if limit.max_budget is not None
        },
        "budget_duration": settings.budget_duration,
        "budget_reset_at": reset_at(settings.budget_duration, now_us),
        "temp_budget_increase": usd_or_none(settings.temp_budget_increase),
        "temp_budget_expiry": None if expiry is None else instant(expiry),
        "limits": list(settings.limits),
    }


class HolderView(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a holder, and what it spent."""

    spend: Usd
    models: list[str] = []
    metadata: dict[str, Any] = {}
    max_budget: Usd | None = None
    soft_budget: Usd | None = None
    budget_duration: str | None = None
    budget_reset_at: datetime | None = None
    budget_limits: list[dict[str, Any]] = []
    budget_id: str | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tpd_limit: int | None = None
    limits: list[dict[str, Any]] = []
    model_max_budget: dict[str, Any] = {}
    model_rpm_limit: dict[str, int] = {}
    model_tpm_limit: dict[str, int] = {}
    model_spend: dict[str, Any] = {}
    temp_budget_increase: Usd | None = None
    temp_budget_expiry: datetime | None = None
    access_group_ids: list[str] = []
    guardrails: list[str] = []
    cache: dict[str, Any] = {}
    allowed_cache_controls: list[str] = []
    tags: list[str] = []
    alert_at: list[int] = []


def holder_values(settings: Settings, spent_pico: int, now_us: int) -> dict[str, Any]:
    """The fields of `HolderView`."""
    limits = settings.model_limits.items()
    return limit_values(settings, now_us) | {
        "spend": Usd(max(spent_pico - settings.spend_base, 0)),
        "models": list(settings.models),
        "metadata": settings.metadata,
        "budget_limits": [
            {
                "budget_duration": window.duration,
                "max_budget": Usd(window.max_budget),
                "reset_at": reset_at(window.duration, now_us),
            }
            for window in settings.budget_windows
        ],
        "budget_id": settings.budget_id,
        "model_rpm_limit": {model: limit.rpm_limit for model, limit in limits if limit.rpm_limit is not None},
        "model_tpm_limit": {model: limit.tpm_limit for model, limit in limits if limit.tpm_limit is not None},
        "access_group_ids": list(settings.access_groups),
        "guardrails": list(settings.guardrails),
        "cache": shown(settings.cache),
        "allowed_cache_controls": list(settings.cache_controls),
        "tags": list(settings.tags),
        "alert_at": list(settings.alert_at),
    }


def reset_at(duration: str | None, now_us: int) -> datetime | None:
    """When a calendar window ends next; None for one that rolls or never ends."""
    return None if duration is None else next_reset(duration, now_us)


def stamps(record: Any) -> dict[str, Any]:
    """When and by whom a row was made and changed."""
    return {
        "created_at": instant(record.created_us),
        "created_by": record.created_by,
        "updated_at": instant(record.updated_us),
        "updated_by": record.updated_by,
    }
