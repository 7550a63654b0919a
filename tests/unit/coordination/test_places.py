"""What is known of leases: enough to give back what others want, and not more with every day."""

from ailink.coordination.places import KEPT_S, Places
from ailink.coordination.shapes import EVER, Standing, key_of


def standing(period: int = 1, serial: int = 1, holder: str = "k") -> Standing:
    return Standing(
        kind="key", id=holder, serial=serial, metric="spend", models=None, max=100,
        window={"kind": "calendar"}, period=period, taken=0, granted=0, wanted=0, idle_ms=0,
    )  # fmt: skip


def saw(places: Places, one: Standing, now: float) -> None:
    places.saw(key_of(one), one, now)


def test_what_nobody_mentions_is_forgotten() -> None:
    places = Places()
    for day in range(1_000):
        one = standing(holder=f"k{day}", serial=day)
        saw(places, one, 3 * KEPT_S * day)
        assert len(places) <= 4
        assert [(serial, place.holder) for serial, place in places.of(key_of(one))] == [(day, f"k{day}")]
    assert places.of(key_of(standing(holder="k0"))) == []


def test_a_limit_has_one_name_in_all_periods() -> None:
    assert key_of(standing(period=1)) == key_of(standing(period=2))
    assert key_of(standing(period=1)) != key_of(standing(period=EVER))


def test_what_is_mentioned_stays_while_others_go() -> None:
    places = Places()
    saw(places, standing(holder="idle", serial=2), 0.0)
    for second in range(int(KEPT_S) * 5):
        saw(places, standing(), float(second))
    assert places.of(key_of(standing(holder="idle"))) == []
    # Known until twice the time has passed without a word of it.
    saw(places, standing(holder="other", serial=3), KEPT_S * 6)
    assert [serial for serial, _ in places.of(key_of(standing()))] == [1]
