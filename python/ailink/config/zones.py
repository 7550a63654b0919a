"""Time zones as tables: the moments at which the clocks of a place are set, and what they show then."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

YEARS: Final = 12
_STEP: Final = timedelta(days=7)


class ZoneError(Exception):
    """There is no such zone."""


@cache
def offsets(name: str, year: int) -> tuple[tuple[int, int], ...]:
    """Moments (seconds since 1970) and seconds ahead of UTC from then on, from a year before `year`.

    Raises ZoneError.
    """
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ZoneError(f"there is no time zone `{name}`; name one such as `Europe/Berlin`") from None
    at, end = datetime(year - 1, 1, 1, tzinfo=UTC), datetime(year + YEARS, 1, 1, tzinfo=UTC)
    shown = _ahead(at, zone)
    table = [(int(at.timestamp()), shown)]
    while at < end:
        after = at + _STEP
        if _ahead(after, zone) != shown:
            moment = _change(at, after, zone)
            shown = _ahead(moment, zone)
            table.append((int(moment.timestamp()), shown))
            after = moment
        at = after
    return tuple(table)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first second between these two with another offset than before."""
    shown = _ahead(before, zone)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if _ahead(middle, zone) == shown:
            before = middle
        else:
            after = middle
    return after


def _ahead(at: datetime, zone: ZoneInfo) -> int:
    ahead = at.astimezone(zone).utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds())
