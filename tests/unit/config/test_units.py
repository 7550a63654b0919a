"""Durations, sizes and money against exact fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink.config.units import Duration, PicoUsd, Size

MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("5s", 5000),
        ("250ms", 250),
        ("2m", 120_000),
        ("1h30m", 5_400_000),
        ("1.5s", 1500),
        ("0s", 0),
        ("1d", MS["d"]),
    ],
)
def test_duration(text, milliseconds):
    assert Duration.parse(text) == milliseconds


@pytest.mark.parametrize(
    "value", ["", "5", "5 s", "s", "-5s", "5x", "1e3s", "1.0001ms", "5s5", True, None, [], "9" * 15 + "d"]
)
def test_not_a_duration(value):
    with pytest.raises(ValueError):
        Duration.parse(value)


@pytest.mark.parametrize("value", [5, Decimal("1.5")])
def test_a_bare_number_is_told_to_have_a_unit(value):
    with pytest.raises(ValueError, match=f"needs a unit: `{value}s`"):
        Duration.parse(value)


def test_a_bare_zero_needs_no_unit():
    assert Duration.parse(0) == 0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(MS))), min_size=1, max_size=4))
def test_durations_add_up(parts):
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert Duration.parse(text) == sum(count * MS[unit] for count, unit in parts)


@given(st.integers(0, 2**62))
def test_durations_read_back(milliseconds):
    try:
        assert Duration.parse(str(Duration(milliseconds))) == milliseconds
    except ValueError:
        assert milliseconds >= 10**15  # more digits than anybody writes


@given(st.decimals(0, 10**6, places=3), st.sampled_from(sorted(MS)))
def test_fractions_of_durations_are_exact_or_refused(number, unit):
    wanted = Fraction(number) * MS[unit]
    if wanted.denominator == 1:
        assert Duration.parse(f"{number:f}{unit}") == wanted
    else:
        with pytest.raises(ValueError, match="finer than a millisecond"):
            Duration.parse(f"{number:f}{unit}")


@pytest.mark.parametrize(
    ("value", "size"),
    [("64KiB", 65536), ("256MiB", 2**28), ("1.5KB", 1500), ("10", 10), (10, 10), ("1 GiB", 2**30)],
)
def test_size(value, size):
    assert Size.parse(value) == size


@pytest.mark.parametrize(
    "value", ["", "KiB", "-1", "1.5", "1.5B", "12 apples", "1e3", True, Decimal("1.5"), None, "9" * 19 + "GB"]
)
def test_not_a_size(value):
    with pytest.raises(ValueError):
        Size.parse(value)


@given(st.integers(0, 2**40), st.sampled_from(sorted(BYTES)))
def test_sizes_against_products(number, unit):
    if number * BYTES[unit] < 2**63:
        assert Size.parse(f"{number}{unit}") == number * BYTES[unit]
    else:
        with pytest.raises(ValueError, match="too large"):
            Size.parse(f"{number}{unit}")


@given(st.integers(0, 2**60))
def test_sizes_read_back(size):
    assert Size.parse(str(Size(size))) == size


@pytest.mark.parametrize(
    ("text", "pico"),
    [
        ("0.15", 150_000_000_000),
        ("0.60", 600_000_000_000),
        ("15", 15 * 10**12),
        ("1e-12", 1),
        ("0", 0),
        (".5", 5 * 10**11),
    ],
)
def test_money(text, pico):
    assert PicoUsd.parse(text) == pico
    assert PicoUsd.parse(Decimal(text)) == pico


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "-1",
        "1e-13",
        "0.1234567890123",
        "inf",
        "nan",
        0.15,
        True,
        None,
        Decimal("inf"),
        Decimal("nan"),
        "1e999",
    ],
)
def test_not_money(value):
    with pytest.raises(ValueError):
        PicoUsd.parse(value)


@given(st.decimals(0, 10**6, allow_nan=False, allow_infinity=False))
def test_money_is_exact_or_refused(amount):
    wanted = Fraction(amount) * 10**12
    if wanted.denominator == 1 and wanted < 2**63:
        assert PicoUsd.parse(str(amount)) == wanted
        assert PicoUsd.parse(amount) == wanted
    else:
        with pytest.raises(ValueError):
            PicoUsd.parse(str(amount))


def test_huge_exponents_cost_nothing():
    for text in ("1e-999", "1e999"):
        with pytest.raises(ValueError):
            PicoUsd.parse(text)
    with pytest.raises(ValueError):
        PicoUsd.parse(Decimal("1e99999"))
