"""What can be set on an organization, a team, a project, a user, a member, a customer, a tag, a budget and a
key. One shape for all of them, so that inheriting is one walk over one struct.

Money is pico-USD, time µs since 1970. None or empty: nothing is set here, so what stands above holds.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class BudgetWindow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of several budgets at once: so much in each `duration`."""

    duration: str
    max_budget: int


class ModelLimit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of one model, or of the models of one pattern."""

    max_budget: int | None = None
    duration: str | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None


class CacheRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the cache takes part in requests. `threshold` in ten-thousandths."""

    enabled: bool | None = None
    mode: Literal["on", "opt_in"] | None = None
    scope: Literal["key", "user", "team", "organization", "shared"] | None = None
    namespace: str | None = None
    ttl_ms: int | None = None
    store: bool | None = None
    semantic: bool | None = None
    threshold: int | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All settings that are inherited, and the budget a holder may have been given by id."""

    models: tuple[str, ...] = ()
    access_groups: tuple[str, ...] = ()
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    tpd_limit: int | None = None
    max_parallel: int | None = None
    max_budget: int | None = None
    soft_budget: int | None = None
    budget_duration: str | None = None
    budget_windows: tuple[BudgetWindow, ...] = ()
    model_limits: dict[str, ModelLimit] = {}
    # Further ones, in the words of the configuration file.
    limits: tuple[dict[str, Any], ...] = ()
    temp_budget_increase: int | None = None
    temp_budget_expiry_us: int | None = None
    budget_id: str | None = None
    # Percents of `max_budget` that are told of when they are passed.
    alert_at: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    # Guardrails of the configuration that hold for every request of its keys.
    guardrails: tuple[str, ...] = ()
    cache: CacheRule | None = None
    # What requests may say of the cache; empty: all of it.
    cache_controls: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    # What was spent before the last reset; `spend` counts from here.
    spend_base: int = 0
    # Budgets count from here.
    spend_since_us: int = 0
