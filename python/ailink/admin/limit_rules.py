"""From settings to the limits that the data plane counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ailink.admin.durations import calendar_unit, instant, window_seconds
from ailink.config import limit_words
from ailink.config.limits import Budgets, Limit
from ailink.snapshot import rules
from ailink.snapshot.limits import rules_of, rules_of_budget
from ailink.snapshot.model import Anchored, Calendar, Lifetime, LimitRule, Sliding
from ailink.store.settings import Settings

DAY = Sliding(length_ms=86_400_000)


def limit_rules(settings: Settings, now_us: int) -> list[LimitRule]:
    """Every limit and budget of one holder. What was spent before a reset does not count."""
    since = settings.spend_since_us
    found = rules.of_rates(rpm=settings.rpm_limit, tpm=settings.tpm_limit, parallel=settings.max_parallel)
    if settings.tpd_limit is not None:
        found.append(rules.limit("tokens", settings.tpd_limit, DAY))
    window = budget_window(settings.budget_duration, since, now_us)
    if settings.max_budget is not None:
        (most,) = spend(settings.max_budget + increase(settings, now_us), window)
        found += [most, *rules.alerts(most, settings.alert_at)]
    found += spend(settings.soft_budget, window, name="soft_budget", soft=True)
    for budget in settings.budget_windows:
        found += spend(budget.max_budget, budget_window(budget.duration, since, now_us))
    for model, limit in settings.model_limits.items():
        window = budget_window(limit.duration, since, now_us)
        found += spend(limit.max_budget, window, models=[model])
    limits = settings.model_limits.items()
    found += rules.of_models(
        rpm={model: limit.rpm_limit for model, limit in limits if limit.rpm_limit is not None},
        tpm={model: limit.tpm_limit for model, limit in limits if limit.tpm_limit is not None},
    )
    for words in settings.limits:
        found += own_rules(words, since, now_us)
    return found


def own_rules(words: Mapping[str, Any], since_us: int, now_us: int) -> list[LimitRule]:
    """A limit in the words of the file; days are those of UTC."""
    limit = limit_words.read(words)
    if isinstance(limit, Limit):
        return rules_of(limit)
    return rules_of_budget(limit, Budgets(), instant(now_us), since_us=since_us)


def increase(settings: Settings, now_us: int) -> int:
    """Pico-USD that a temporary increase adds at `now_us`, never below the whole budget."""
    if settings.temp_budget_increase is None or (settings.temp_budget_expiry_us or 0) <= now_us:
        return 0
    return max(settings.temp_budget_increase, -(settings.max_budget or 0))


def budget_window(duration: str | None, since_us: int, now_us: int) -> Lifetime | Anchored | Calendar:
    """A window in the plane's terms: calendar ones in UTC, others one after another."""
    if duration is None:
        return Lifetime(since_us=since_us)
    unit = calendar_unit(duration)
    if unit is None:
        length_ms = window_seconds(duration) * 1_000
        return Anchored(start_us=since_us, length_ms=length_ms, since_us=since_us)
    return rules.calendar(unit, now=instant(now_us), since_us=since_us)


def spend(
    most: int | None,
    window: Lifetime | Anchored | Calendar,
    *,
    name: str = "max_budget",
    models: list[str] | None = None,
    soft: bool = False,
) -> list[LimitRule]:
    """At most one rule; none where there is no limit."""
    if most is None:
        return []
    return [rules.limit("spend", most, window, models=models, soft=soft, name=name)]
