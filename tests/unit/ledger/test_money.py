from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.ledger.money import Usd, per_token


@settings(deadline=None)
@given(st.integers(-(10**30), 10**30))
def test_the_text_is_the_amount(pico: int) -> None:
    assert Decimal(Usd(pico).text()).as_integer_ratio() == Decimal(f"{pico}e-12").as_integer_ratio()
    assert "e" not in Usd(pico).text().lower()


def test_examples() -> None:
    assert Usd(0).text() == "0.0"
    assert Usd(1).text() == "0.000000000001"
    assert Usd(-1_500_000_000_000).text() == "-1.5"
    assert Usd(150_000_000).text() == "0.00015"
    assert per_token(150_000_000_000).text() == "0.00000015"  # $0.15 per million tokens
