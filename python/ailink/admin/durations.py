"""Lifetimes of keys as LiteLLM writes them: `30s`, `30m`, `30h`, `30d`, `2w`, `1mo`."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

MICROSECONDS = 1_000_000
FORM = re.compile(r"([1-9][0-9]{0,8})(s|mo|m|h|d|w)")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
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
            return _microseconds(_add_months(instant(now_us), number))
        return _microseconds(instant(now_us) + timedelta(seconds=number * SECONDS[unit]))
    except (OverflowError, ValueError) as error:
        raise ValueError(
            "the duration ends after the year 9999; leave it out for a key that never expires"
        ) from error


def instant(us: int) -> datetime:
    """µs since 1970 as a time in UTC."""
    return EPOCH + timedelta(microseconds=us)


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _add_months(moment: datetime, months: int) -> datetime:
    years, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + years, month + 1
    # The 31st of January plus one month is the last day of February.
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)
