"""`/key/explain`: what holds for a key, and which level above it says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin.cache_fields import said as cache_said
from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.key_fields import KeyName
from ailink.admin.limit_rules import increase
from ailink.admin.lineage import Level, World
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.ledger.money import Usd
from ailink.store.keys import KeyRecord
from ailink.store.settings import Settings


class ExplainQuery(Request, frozen=True, kw_only=True):
    """Without `key`, the calling key."""

    key: KeyName | None = None


class LevelView(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    id: str
    alias: str | None
    blocked: bool


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What one level says of a setting."""

    level: str
    id: str
    value: Any


class EffectiveView(msgspec.Struct, frozen=True, kw_only=True):
    """`effective` is what holds; `from_level` names the level that decides, where one does. Of limits and
    budgets every level holds; the tightest is named.
    """

    name: str
    effective: Any
    from_level: str | None
    said: list[Said]


class ExplainView(msgspec.Struct, frozen=True, kw_only=True):
    key_id: str
    key_name: str
    levels: list[LevelView]
    settings: list[EffectiveView]


LIMITS = ("rpm_limit", "tpm_limit", "tpd_limit", "max_parallel")
SHOWN = {"max_parallel": "max_parallel_requests"}


async def explain(services: Services, call: Call[Nothing, ExplainQuery]) -> ExplainView:
    name = call.query.key
    if name is None:
        record = await services.keys.get_by_id(call.caller, call.caller.key_id)
    else:
        record = await services.keys.get(call.caller, name)
    world = await World.of(services.database, [record])
    levels = world.levels(record)
    now = services.changes.now_us()
    settings = [
        _models(world, record, levels),
        _blocked(levels),
        *(_limit(levels, field) for field in LIMITS),
        *_budgets(levels, now),
        *_model_limits(levels),
        *_further(levels),
        _union("tags", levels),
        _union("guardrails", levels),
        *_cache(levels),
        _own("expires", record, None if record.expires_us is None else instant(record.expires_us)),
        _own("allowed_routes", record, list(record.routes)),
        _own("allowed_ips", record, list(record.allowed_ips)),
    ]
    return ExplainView(
        key_id=record.id,
        key_name=record.display,
        levels=[
            LevelView(kind=level.kind, id=level.id, alias=level.alias, blocked=level.blocked)
            for level in levels
        ],
        settings=settings,
    )


def _models(world: World, record: KeyRecord, levels: Sequence[Level]) -> EffectiveView:
    said = []
    for level in levels:
        if (level.kind == "user" and record.team_id is not None) or level.kind == "tag":
            continue
        expanded = world.expanded(level.settings, record.org_id)
        if expanded is not None:
            said.append(Said(level=level.kind, id=level.id, value=expanded))
    effective = world.allowed_models(record)
    return EffectiveView(
        name="models",
        effective="all" if effective is None else effective,
        from_level=said[0].level if len(said) == 1 else None,
        said=said,
    )


def _blocked(levels: Sequence[Level]) -> EffectiveView:
    said = [Said(level=level.kind, id=level.id, value=True) for level in levels if level.blocked]
    return EffectiveView(
        name="blocked", effective=bool(said), from_level=said[0].level if said else None, said=said
    )


def _limit(levels: Sequence[Level], field: str) -> EffectiveView:
    said = [
        Said(level=level.kind, id=level.id, value=value)
        for level in levels
        if (value := getattr(level.settings, field)) is not None
    ]
    name = SHOWN.get(field, field)
    return _lowest(name, said) if said else EffectiveView(name=name, effective=None, from_level=None, said=[])


def _budgets(levels: Sequence[Level], now_us: int) -> list[EffectiveView]:
    found: dict[str, list[Said]] = {}

    def say(name: str, level: Level, amount: int | None) -> None:
        if amount is not None:
            found.setdefault(name, []).append(Said(level=level.kind, id=level.id, value=Usd(amount)))

    for level in levels:
        settings: Settings = level.settings
        window = settings.budget_duration or "lifetime"
        most = settings.max_budget
        say(f"max_budget per {window}", level, None if most is None else most + increase(settings, now_us))
        say(f"soft_budget per {window}", level, settings.soft_budget)
        for budget in settings.budget_windows:
            say(f"max_budget per {budget.duration}", level, budget.max_budget)
        for model, limit in settings.model_limits.items():
            say(f"max_budget of {model} per {limit.duration or 'lifetime'}", level, limit.max_budget)
    return [_lowest(name, said) for name, said in found.items()]


def _model_limits(levels: Sequence[Level]) -> list[EffectiveView]:
    found: dict[str, list[Said]] = {}
    for level in levels:
        for model, limit in level.settings.model_limits.items():
            for field in ("rpm_limit", "tpm_limit"):
                value = getattr(limit, field)
                if value is not None:
                    found.setdefault(f"{field} of {model}", []).append(
                        Said(level=level.kind, id=level.id, value=value)
                    )
    return [_lowest(name, said) for name, said in found.items()]


def _lowest(name: str, said: list[Said]) -> EffectiveView:
    least = min(said, key=lambda one: one.value.value if isinstance(one.value, Usd) else one.value)
    return EffectiveView(name=name, effective=least.value, from_level=least.level, said=said)


def _further(levels: Sequence[Level]) -> list[EffectiveView]:
    """`limits`: all of them hold, each for the level that says it."""
    said = [
        Said(level=level.kind, id=level.id, value=list(level.settings.limits))
        for level in levels
        if level.settings.limits
    ]
    effective = [limit for one in said for limit in one.value]
    return [EffectiveView(name="limits", effective=effective, from_level=None, said=said)] if said else []


def _union(name: str, levels: Sequence[Level]) -> EffectiveView:
    said = [
        Said(level=level.kind, id=level.id, value=list(values))
        for level in levels
        if (values := getattr(level.settings, name))
    ]
    effective = list(dict.fromkeys(value for one in said for value in one.value))
    return EffectiveView(name=name, effective=effective, from_level=None, said=said)


def _cache(levels: Sequence[Level]) -> list[EffectiveView]:
    found = []
    for name, effective, who in cache_said(levels):
        said = [Said(level=level.kind, id=level.id, value=value) for level, value in who]
        decides = [one.level for one in said if one.value == effective]
        found.append(
            EffectiveView(
                name=name, effective=effective, from_level=decides[-1] if decides else None, said=said
            )
        )
    return found


def _own(name: str, record: KeyRecord, value: Any) -> EffectiveView:
    said = [Said(level="key", id=record.id, value=value)] if value else []
    return EffectiveView(name=name, effective=value or None, from_level="key" if said else None, said=said)
