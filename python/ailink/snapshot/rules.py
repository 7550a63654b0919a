"""Limits in the plane's terms: the windows people ask for, and the rules of LiteLLM's fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from ailink.snapshot.model import (
    Anchored,
    Calendar,
    CalendarUnit,
    Lifetime,
    LimitRule,
    Metric,
    Refuse,
    Sliding,
)

MINUTE: Final = Sliding(length_ms=60_000)
DAY: Final = timedelta(days=1)
# A zone changes its offset at least this often, or not at all.
HORIZON: Final = timedelta(days=400)
MOST: Final = 2**64 - 1
"""The most a limit may be: 18.4 million USD for spend."""


def limit(
    metric: Metric,
    most: int,
    window: Sliding | Calendar | Anchored | Lifetime | None = MINUTE,
    *,
    models: list[str] | None = None,
    soft: bool = False,
    name: str = "",
) -> LimitRule:
    """One rule; `parallel` has no window."""
    return LimitRule(
        name=name,
        metric=metric,
        max=min(most, MOST),
        window=None if metric == "parallel" else window,
        models=models,
        endpoints=None,
        providers=None,
        each=None,
        soft=soft,
        on_exhausted=Refuse(),
        reserved=(0, 0),
    )


def alerts(budget: LimitRule, percents: Sequence[int]) -> list[LimitRule]:
    """Soft rules that tell of shares of a budget."""
    return [
        msgspec.structs.replace(
            budget,
            max=budget.max * percent // 100,
            soft=True,
            name=f"{percent} % of {budget.name or 'the budget'}",
            on_exhausted=Refuse(),
            reserved=(0, 0),
        )
        for percent in sorted(set(percents))
    ]


def of_rates(
    *, rpm: int | None = None, tpm: int | None = None, parallel: int | None = None
) -> list[LimitRule]:
    """LiteLLM's `rpm_limit`, `tpm_limit` and `max_parallel_requests`: over any 60 seconds."""
    wanted: list[tuple[Metric, int | None]] = [("requests", rpm), ("tokens", tpm), ("parallel", parallel)]
    return [limit(metric, most) for metric, most in wanted if most is not None]


def of_models(
    *, rpm: Mapping[str, int] | None = None, tpm: Mapping[str, int] | None = None
) -> list[LimitRule]:
    """LiteLLM's `model_rpm_limit` and `model_tpm_limit`: each model by itself, over any 60 seconds."""
    wanted: list[tuple[Metric, Mapping[str, int]]] = [("requests", rpm or {}), ("tokens", tpm or {})]
    return [limit(metric, most, models=[model]) for metric, rates in wanted for model, most in rates.items()]


def calendar(unit: CalendarUnit, zone: tzinfo = UTC, *, now: datetime, since_us: int = 0) -> Calendar:
    """Periods of the calendar as clocks of `zone` show it; the zone's next change of offset is looked up."""
    offset, shift, shifted = next_shift(zone, now)
    return Calendar(unit=unit, offset_s=offset, shift_us=shift, shifted_offset_s=shifted, since_us=since_us)


def next_shift(zone: tzinfo, now: datetime) -> tuple[int, int, int]:
    """Seconds east of UTC now, when they change next (µs since 1970; 0: not within 400 days), and to what."""
    offset = _offset(zone, now)
    low, end = now, now + HORIZON
    while _offset(zone, low + DAY) == offset:
        low += DAY
        if low > end:
            return offset, 0, offset
    high = low + DAY
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    # Zones change at whole minutes.
    at_s = -(-int(low.timestamp()) // 60) * 60
    return offset, at_s * 1_000_000, _offset(zone, datetime.fromtimestamp(at_s, UTC))


def _offset(zone: tzinfo, at: datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
