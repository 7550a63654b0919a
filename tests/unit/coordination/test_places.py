"""What is known of leases: enough to give back what others want, and not more with every day."""

from ailink.coordination.places import KEPT_S, Places
from ailink.coordination.shapes import Standing, key_of


def standing(period: int = 1, serial: int = 1, taken: int = 0, holder: str = "k") -> Standing:
    return Standing(
        kind="key", id=holder, serial=serial, metric="spend", models=None, max=100,
        window={"kind": "calendar"}, period=period, taken=taken, granted=taken, wanted=0, idle_ms=0,
    )  # fmt: skip


def saw(places: Places, one: Standing, now: float) -> float:
    return places.saw(key_of(one), one, now)


def test_periods_that_are_over_are_forgotten() -> None:
    places = Places()
    for day in range(1_000):
        saw(places, standing(period=day), 3 * KEPT_S * day)
        assert len(places) <= 4
        assert [(serial, place.holder) for serial, place in places.of(key_of(standing(day)))] == [(1, "k")]
    assert places.of(key_of(standing(period=0))) == []


def test_what_is_mentioned_stays_while_others_go() -> None:
    places = Places()
    saw(places, standing(holder="idle", serial=2), 0.0)
    for second in range(int(KEPT_S) * 5):
        saw(places, standing(), float(second))
    assert places.of(key_of(standing(holder="idle"))) == []
    # Known until twice the time has passed without a word of it.
    saw(places, standing(holder="other", serial=3), KEPT_S * 6)
    assert [serial for serial, _ in places.of(key_of(standing()))] == [1]


def test_rates_are_those_of_late() -> None:
    places = Places()
    assert saw(places, standing(), 100.0) == 0.0
    assert saw(places, standing(taken=10), 101.0) == 10.0
    # Too short to tell.
    assert saw(places, standing(taken=20), 101.01) == 10.0
    assert 10.0 < saw(places, standing(taken=40), 102.0) < 30.0
    # A period that begins anew counts from 0, and is used as fast as the one before.
    assert saw(places, standing(period=2, taken=0), 103.0) > 10.0
