"""Windows in the plane's terms."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ailink.snapshot import rules
from ailink.snapshot.model import Sliding


def us(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("Europe/Berlin", (2026, 7, 1), (7_200, us(2026, 10, 25, 1), 3_600)),
        ("Europe/Berlin", (2026, 11, 21), (3_600, us(2027, 3, 28, 1), 7_200)),
        ("America/New_York", (2026, 11, 1, 6), (-18_000, us(2027, 3, 14, 7), -14_400)),
        ("Asia/Kolkata", (2026, 11, 21), (19_800, 0, 19_800)),
        ("Australia/Lord_Howe", (2026, 11, 21), (39_600, us(2027, 4, 3, 15), 37_800)),
    ],
)
def test_the_next_change_of_a_zone(zone, now, expected):
    assert rules.next_shift(ZoneInfo(zone), datetime(*now, tzinfo=UTC)) == expected


def test_rates_become_rules():
    assert rules.of_rates() == []
    rpm, parallel = rules.of_rates(rpm=5, parallel=2)
    assert (rpm.metric, rpm.max, rpm.window) == ("requests", 5, Sliding(length_ms=60_000))
    assert (parallel.metric, parallel.max, parallel.window) == ("parallel", 2, None)
    [tpm] = rules.of_models(tpm={"m": 9})
    assert (tpm.metric, tpm.models, tpm.max) == ("tokens", ["m"], 9)
