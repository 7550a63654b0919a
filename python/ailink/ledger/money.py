"""Money on its way out: integers of 10⁻¹² US dollars inside, exact decimal numbers in JSON, never a float
between.
"""

from __future__ import annotations

PICO_DIGITS = 12


class Usd:
    """An amount that JSON shows as US dollars: `Usd(150_000_000)` is the number `0.00015`.

    `value` counts units of 10^-`digits` dollars; pico-USD unless said otherwise.
    """

    __slots__ = ("digits", "value")

    def __init__(self, value: int, digits: int = PICO_DIGITS) -> None:
        self.value = value
        self.digits = digits

    def text(self) -> str:
        """The shortest exact decimal, without an exponent."""
        sign = "-" if self.value < 0 else ""
        dollars, fraction = divmod(abs(self.value), 10**self.digits)
        decimals = f"{fraction:0{self.digits}d}".rstrip("0")
        return f"{sign}{dollars}.{decimals or '0'}"

    def __repr__(self) -> str:
        return f"Usd({self.text()})"


def per_token(pico_per_million: int) -> Usd:
    """One token's price from pico-USD per 1,000,000 tokens: exact, in units of 10⁻¹⁸ dollars."""
    return Usd(pico_per_million, PICO_DIGITS + 6)


def usd_or_none(pico: int | None) -> Usd | None:
    """An amount, where there is one."""
    return None if pico is None else Usd(pico)
