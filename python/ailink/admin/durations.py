"""Lifetimes of keys and windows of budgets as LiteLLM writes them: `30s`, `30m`, `30h`, `30d`, `1mo`."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

MICROSECONDS = 1_000_000
FORM = re.compile(r"([1-9][0-9]{0,8})(s|mo|m|h|d|w)")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST_WINDOW = 400 * SECONDS["d"]
Unit = Literal["second", "minute", "hour", "day", "week", "month"]
CALENDAR: Mapping[str, Unit] = {
    "1s": "second",
    "1m": "minute",
    "60s": "minute",
    "1h": "hour",
    "60m": "hour",
    "1d": "day",
    "24h": "day",
    "7d": "week",
    "1w": "week",
    "30d": "month",
    "1mo": "month",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def expiry_us(duration: str, now_us: int) -> int:
    """When a key made now for `duration` ends, in µs since 1970. Months are calendar months in UTC. Raises
    ValueError.
    """
    match = FORM.fullmatch(duration)
    if match is None:
        raise ValueError("expected a duration such as 30s, 30m, 30h, 30d, 2w or 1mo")
    number, unit = int(match[1]), match[2]
    try:
        if unit == "mo":
            return microseconds(_add_months(instant(now_us), number))
        return microseconds(instant(now_us) + timedelta(seconds=number * SECONDS[unit]))
    except (OverflowError, ValueError) as error:
        raise ValueError(
            "the duration ends after the year 9999; leave it out for a key that never expires"
        ) from error


def instant(us: int) -> datetime:
    """µs since 1970 as a time in UTC."""
    return EPOCH + timedelta(microseconds=us)


def microseconds(moment: datetime) -> int:
    """µs since 1970; a time without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def window_seconds(duration: str) -> int:
    """The length of a window; a month counts 30 days. Raises ValueError for what is no window of 1 second
    to 400 days.
    """
    match = FORM.fullmatch(duration)
    seconds = (
        0 if match is None else int(match[1]) * (SECONDS["d"] * 30 if match[2] == "mo" else SECONDS[match[2]])
    )
    if not 0 < seconds <= LONGEST_WINDOW:
        raise ValueError("expected a window such as 30s, 15m, 1h, 1d, 7d, 30d or 1mo, of at most 400 days")
    return seconds


def calendar_unit(duration: str) -> Unit | None:
    """The unit of the calendar that a window is, as LiteLLM snaps them; None for one that rolls."""
    return CALENDAR.get(duration)


def next_reset(duration: str, now_us: int) -> datetime | None:
    """When the calendar window (UTC) that holds `now_us` ends; None for one that rolls."""
    now = instant(now_us)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match calendar_unit(duration):
        case "second" | "minute" | "hour" as unit:
            length = {"second": 1, "minute": 60, "hour": 3_600}[unit] * MICROSECONDS
            return instant((now_us // length + 1) * length)
        case "day":
            return day + timedelta(days=1)
        case "week":
            return day + timedelta(days=7 - day.weekday())
        case "month":
            return _add_months(day.replace(day=1), 1)
    return None


def _add_months(moment: datetime, months: int) -> datetime:
    years, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + years, month + 1
    # The 31st of January plus one month is the last day of February.
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)
