"""The limits of the configuration file as subjects of the data plane."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ailink.config.limits import Budget, Budgets, Limit, OnExhausted, window
from ailink.config.schema import Config
from ailink.config.units import Duration
from ailink.snapshot import rules
from ailink.snapshot.model import (
    Calendar,
    CalendarUnit,
    Exhausted,
    Fallback,
    Lifetime,
    LimitRule,
    Metric,
    Queue,
    Refuse,
    Sliding,
    SubjectKind,
    SubjectRow,
    Throttle,
)

Name = tuple[SubjectKind, str]
_METRICS: tuple[Metric, ...] = ("requests", "input_tokens", "output_tokens", "tokens", "parallel")


def compile_subjects(config: Config, now: datetime | None = None) -> list[SubjectRow]:
    """A row for each subject that the file limits."""
    found: dict[Name, list[LimitRule]] = {}
    aliases = {alias: model.name for model in config.models for alias in model.aliases}
    for limit in config.limits:
        found.setdefault(scope_of(limit.on, aliases), []).extend(rules_of(limit))
    for budget in config.budgets.rules:
        made = rules_of_budget(budget, config.budgets, now or datetime.now(UTC))
        found.setdefault(scope_of(budget.on, aliases), []).extend(made)
    return [
        SubjectRow(kind=kind, id=name, alias=None, parents=[], blocked=False, limits=limits)
        for (kind, name), limits in found.items()
    ]


def scope_of(on: str, aliases: Mapping[str, str]) -> Name:
    """The subject that `on` names."""
    kind, _, name = on.partition(":")
    return cast(SubjectKind, kind), aliases.get(name, name) if kind == "model" else name


def rules_of(limit: Limit) -> list[LimitRule]:
    """One for each thing it counts."""
    sliding = Sliding(length_ms=int(limit.per))
    return [
        _with(limit, rules.limit(metric, most, sliding, soft=limit.soft, name=limit.name))
        for metric in _METRICS
        if (most := getattr(limit, metric)) is not None
    ]


def rules_of_budget(
    budget: Budget, settings: Budgets, now: datetime, *, since_us: int = 0
) -> list[LimitRule]:
    """The budget itself, and what tells of parts of it."""
    span: Sliding | Calendar | Lifetime
    length = window(budget.per)
    if isinstance(length, Duration):
        span = Sliding(length_ms=int(length))
    elif length == "lifetime":
        span = Lifetime(since_us=since_us)
    else:
        zone = ZoneInfo(settings.timezone)
        span = rules.calendar(cast(CalendarUnit, length), zone, now=now, since_us=since_us)
    rule = rules.limit("spend", int(budget.usd), span, soft=budget.soft, name=budget.name)
    rule = _with(budget, rule)
    return [rule, *rules.alerts(rule, budget.alert_at)]


def _with(limit: Limit | Budget, rule: LimitRule) -> LimitRule:
    def names(given: tuple[str, ...] | None) -> list[str] | None:
        return None if given is None else list(given)

    return replace(
        rule,
        models=names(limit.models),
        endpoints=names(limit.endpoints),
        providers=names(limit.providers),
        each=limit.each,
        on_exhausted=_exhausted(limit.on_exhausted),
        reserved=(limit.keep.normal, limit.keep.high),
    )


def _exhausted(wanted: OnExhausted) -> Exhausted:
    if wanted.queue is not None:
        return Queue(wait_ms=int(wanted.queue), most=wanted.waiting)
    if wanted.throttle is not None:
        return Throttle(from_percent=wanted.above, wait_ms=int(wanted.throttle))
    return Fallback() if wanted.fallback else Refuse()
