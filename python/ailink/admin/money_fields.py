"""Amounts and durations in requests: exact, bounded, never NaN."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated

from msgspec import Meta

from ailink.admin.errors import bad_request
from ailink.ledger.money import PICO_DIGITS

# 64 bits of pico-USD end at 9.2 million dollars.
MOST_USD = 9_000_000
Money = Annotated[float, Meta(ge=0, le=MOST_USD, description="US dollars.")]
# An increase may also take away.
Difference = Annotated[float, Meta(ge=-MOST_USD, le=MOST_USD, description="US dollars.")]
Window = Annotated[
    str,
    Meta(
        max_length=12,
        description="`1h`, `1d`, `7d`, `30d`, `1mo`: days, weeks and months are those of the calendar.",
    ),
]


def pico(value: float | None, param: str) -> int | None:
    """Pico-USD, half-even. The shortest decimal that is the number is what its writer meant."""
    if value is None:
        return None
    amount = Decimal(repr(value)).scaleb(PICO_DIGITS)
    if not amount.is_finite():
        raise bad_request("expected an amount of US dollars", param=param)
    return int(amount.to_integral_value(ROUND_HALF_EVEN))
