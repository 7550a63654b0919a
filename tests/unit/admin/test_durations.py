from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.admin.durations import expiry_us, instant


def at(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("duration", "now", "end"),
    [
        ("30s", "2026-01-31T00:00:00", "2026-01-31T00:00:30"),
        ("30m", "2026-01-31T00:00:00", "2026-01-31T00:30:00"),
        ("30h", "2026-01-31T00:00:00", "2026-02-01T06:00:00"),
        ("30d", "2026-01-31T00:00:00", "2026-03-02T00:00:00"),
        ("2w", "2026-01-31T00:00:00", "2026-02-14T00:00:00"),
        ("1mo", "2026-01-31T10:00:00", "2026-02-28T10:00:00"),
        ("1mo", "2028-01-31T10:00:00", "2028-02-29T10:00:00"),
        ("13mo", "2026-12-15T10:00:00", "2028-01-15T10:00:00"),
    ],
)
def test_end(duration: str, now: str, end: str) -> None:
    assert expiry_us(duration, at(now)) == at(end)


@pytest.mark.parametrize(
    "duration", ["", "0s", "-1", "1y", "1.5h", "1 d", "mo", "01s", "1S", "٣s", "1h30m", "9" * 12 + "s"]
)
def test_refused(duration: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        expiry_us(duration, 0)


@pytest.mark.parametrize("duration", ["999999999d", "999999999mo", "96000mo"])
def test_beyond_the_calendar(duration: str) -> None:
    with pytest.raises(ValueError, match="year 9999"):
        expiry_us(duration, at("2026-01-01T00:00:00"))


@settings(deadline=None)
@given(st.integers(1, 10_000), st.sampled_from(["s", "m", "h", "d", "w", "mo"]), st.integers(0, 2 * 10**15))
def test_an_expiry_lies_ahead_and_keeps_microseconds(number: int, unit: str, now_us: int) -> None:
    end = expiry_us(f"{number}{unit}", now_us)
    assert end > now_us
    assert end % 1_000_000 == now_us % 1_000_000
    assert instant(end).tzinfo is UTC
