"""What can be wrong with prices of a configuration."""

from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Final

from ailink.config.problems import Path
from ailink.config.schema import Price
from ailink.pricing import files

MOST_PER_UNIT: Final = 9 * 10**12
"""pico-USD; a million of them still fit 64 bits."""


def price_faults(price: Price | None, path: Path) -> Iterator[tuple[Path, str]]:
    """Where a price cannot be charged by, and why."""
    if price is None:
        return
    for name in ("per_search", "per_image", "per_second", "per_character"):
        if (getattr(price, name) or 0) > MOST_PER_UNIT:
            yield (*path, name), "is more than 9 US dollars for one"
    tables = [(price.tiers, path)]
    tables += [(special.tiers, (*path, "services", name)) for name, special in price.services.items()]
    for tiers, where in tables:
        steps = [tier.above for tier in tiers]
        if len(set(steps)) != len(steps):
            yield (*where, "tiers"), "two tiers begin at the same size"


def file_faults(named: Iterable[tuple[int, str]]) -> Iterator[tuple[Path, str]]:
    """Which price files cannot be used, and why."""
    for index, file in named:
        try:
            files.read(FilePath(file))
        except files.PriceFileError as error:
            yield ("prices", index), str(error)
