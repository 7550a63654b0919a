"""Durations, sizes and money as they are written in a configuration file; whole numbers inside.

`Duration` is in milliseconds, `Size` in bytes, `PicoUsd` in 10⁻¹² US dollars. Nothing here goes through a
float: `0.15` USD is exactly 150,000,000,000 pico-USD.
"""

import re
from decimal import Decimal
from typing import Final

_MAX: Final = 2**63 - 1
_PART: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,15}))?(ms|s|m|h|d)")
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,15}))? ?([A-Za-z]*)")
_BYTES: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_PICO_DIGITS: Final = 12
_AMOUNT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")


class Tree(str):
    """Anything, as JSON; may be written as a mapping, or as JSON text."""

    __slots__ = ()


class Duration(int):
    """Milliseconds."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Duration":
        """`250ms`, `5s`, `1.5s`, `2m`, `1h30m`, `0`. Raises ValueError."""
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            if value == 0:
                return cls(0)
            raise ValueError(f"a duration needs a unit: `{value}s` or `{value}ms`")
        if not isinstance(value, str):
            raise ValueError("expected a duration such as `5s`, `250ms`, `2m`")
        total = 0
        rest = value.strip()
        if not rest:
            raise ValueError("expected a duration such as `5s`, `250ms`, `2m`")
        while rest:
            part = _PART.match(rest)
            if part is None:
                raise ValueError("expected a duration such as `5s`, `250ms`, `2m` (units: ms, s, m, h, d)")
            total += _scaled(part[1], part[2], _MILLISECONDS[part[3]], "a millisecond")
            rest = rest[part.end() :]
        if total > _MAX:
            raise ValueError("too long")
        return cls(total)

    def __str__(self) -> str:
        for unit, milliseconds in reversed(_MILLISECONDS.items()):
            if self > 0 and self % milliseconds == 0:
                return f"{self // milliseconds}{unit}"
        return "0s"


class Size(int):
    """Bytes."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Size":
        """`64KiB`, `256MiB`, `1.5GB`, or a plain number of bytes. Raises ValueError."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError("expected a size such as `64KiB` or `256MiB`")
        found = _SIZE.fullmatch(value.strip())
        if found is None or found[3].lower() not in _BYTES:
            raise ValueError("expected a size such as `64KiB` or `256MiB` (units: B, KB … TB, KiB … TiB)")
        total = _scaled(found[1], found[2], _BYTES[found[3].lower()], "a byte")
        if total > _MAX:
            raise ValueError("too large")
        return cls(total)

    def __str__(self) -> str:
        for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if self > 0 and self % unit == 0:
                return f"{self // unit}{name}"
        return f"{int(self)}B"


class Similarity(int):
    """From 0.5 to 1, in ten-thousandths."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Similarity":
        """`0.95`, exactly. Raises ValueError."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal):
            raise ValueError("expected a number from 0.5 to 1 such as `0.95`")
        share = exact(value, 4, "a ten-thousandth")
        if not 5_000 <= share <= 10_000:
            raise ValueError("expected a number from 0.5 to 1 such as `0.95`")
        return cls(share)


class Share(int):
    """A part of the whole, in millionths."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Share":
        """`0.1`, exactly. Raises ValueError."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal) or not 0 <= value <= 1:
            raise ValueError("expected a number from 0 to 1 such as `0.1`")
        return cls(exact(value, 6, "a millionth"))

    def __str__(self) -> str:
        return f"{Decimal(int(self)) / 1_000_000:f}"


class PicoUsd(int):
    """10⁻¹² US dollars."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "PicoUsd":
        """US dollars as Decimal, int or text → pico-USD, exactly. Raises ValueError."""
        if isinstance(value, str):
            value = _decimal(value)
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal):
            raise ValueError("expected an amount in US dollars such as `0.15`")
        return cls(exact(value, _PICO_DIGITS, "one pico-USD (10⁻¹² dollars)"))


def exact(value: Decimal, shift: int, finest: str) -> int:
    """`value` × 10^`shift` as an integer. Raises ValueError if it is none, negative or beyond 64 bits.

    Works on the digits, because Decimal arithmetic rounds to its context's 28 digits.
    """
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("expected a number")
    number = int("".join(map(str, digits)) or "0")
    if number == 0:
        return 0
    if sign:
        raise ValueError("must not be negative")
    power = exponent + shift
    if len(digits) + power > len(str(_MAX)):
        raise ValueError("too large")
    if power < 0:
        if -power >= len(digits):
            raise ValueError(f"finer than {finest}")
        number, remainder = divmod(number, int(10**-power))
        if remainder:
            raise ValueError(f"finer than {finest}")
        power = 0
    number *= int(10**power)
    if number > _MAX:
        raise ValueError("too large")
    return number


def _decimal(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text.strip()):
        raise ValueError("expected an amount in US dollars such as `0.15`")
    return Decimal(text.strip())


def _scaled(whole: str, fraction: str | None, unit: int, finest: str) -> int:
    digits = fraction or ""
    number, remainder = divmod(int(whole + digits) * unit, int(10 ** len(digits)))
    if remainder:
        raise ValueError(f"finer than {finest}")
    return number
