"""The limits of the configuration file as subjects of the data plane."""

from __future__ import annotations

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
        found.setdefault(_name(limit.on, aliases), []).extend(_rules(limit))
    for budget in config.budgets.rules:
        rule = _budget(budget, config.budgets, now or datetime.now(UTC))
        found.setdefault(_name(budget.on, aliases), []).extend([rule, *rules.alerts(rule, budget.alert_at)])
    return [
        SubjectRow(kind=kind, id=name, alias=None, parents=[], blocked=False, limits=limits)
        for (kind, name), limits in found.items()
    ]


def _name(on: str, aliases: dict[str, str]) -> Name:
    kind, _, name = on.partition(":")
    return cast(SubjectKind, kind), aliases.get(name, name) if kind == "model" else name


def _rules(limit: Limit) -> list[LimitRule]:
    models = None if limit.models is None else list(limit.models)
    sliding = Sliding(length_ms=int(limit.per))
    return [
        _with(limit, rules.limit(metric, most, sliding, models=models, soft=limit.soft, name=limit.name))
        for metric in _METRICS
        if (most := getattr(limit, metric)) is not None
    ]


def _budget(budget: Budget, settings: Budgets, now: datetime) -> LimitRule:
    span: Sliding | Calendar | Lifetime
    length = window(budget.per)
    if isinstance(length, Duration):
        span = Sliding(length_ms=int(length))
    elif length == "lifetime":
        span = Lifetime(since_us=0)
    else:
        span = rules.calendar(cast(CalendarUnit, length), ZoneInfo(settings.timezone), now=now)
    models = None if budget.models is None else list(budget.models)
    rule = rules.limit("spend", int(budget.usd), span, models=models, soft=budget.soft, name=budget.name)
    return _with(budget, rule)


def _with(limit: Limit | Budget, rule: LimitRule) -> LimitRule:
    kept = (limit.keep.normal, limit.keep.high)
    return replace(rule, on_exhausted=_exhausted(limit.on_exhausted), reserved=kept)


def _exhausted(wanted: OnExhausted) -> Exhausted:
    if wanted.queue is not None:
        return Queue(wait_ms=int(wanted.queue), most=wanted.waiting)
    if wanted.throttle is not None:
        return Throttle(from_percent=wanted.above, wait_ms=int(wanted.throttle))
    return Fallback() if wanted.fallback else Refuse()
