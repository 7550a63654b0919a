"""Prices and facts of models → the wire."""

from collections.abc import Iterable, Mapping
from typing import Final

from ailink.config.schema import Price as ConfigPrice
from ailink.config.schema import PriceRates as ConfigRates
from ailink.pricing import RATES, UNITS, Model, Price, Rates
from ailink.snapshot import model as wire

_PER_MILLION: Final = "_per_million"


def listed(price: Price) -> wire.Price:
    """A price of the catalogue."""
    return wire.Price(
        rates=_rates(price),
        tiers=[wire.Tier(above=tier.above, rates=_rates(tier)) for tier in price.tiers],
        services=[
            wire.ServiceRates(
                service=name,
                rates=_rates(special),
                tiers=[wire.Tier(above=tier.above, rates=_rates(tier)) for tier in special.tiers],
            )
            for name, special in price.services.items()
        ],
        **_units({name: getattr(price, name) for name in UNITS}),
    )


def own(price: ConfigPrice) -> wire.Price:
    """A price of the configuration file."""
    units = {name: _plain(getattr(price, name)) for name in UNITS}
    # The file speaks of one image, one second; the wire of a million of them.
    scaled = {
        name: None if amount is None else amount * (1 if name == "per_request" else 1_000_000)
        for name, amount in units.items()
    }
    return wire.Price(
        rates=_own_rates(price),
        tiers=[wire.Tier(above=tier.above, rates=_own_rates(tier)) for tier in price.tiers],
        services=[
            wire.ServiceRates(
                service=name,
                rates=_own_rates(special),
                tiers=[wire.Tier(above=tier.above, rates=_own_rates(tier)) for tier in special.tiers],
            )
            for name, special in price.services.items()
        ],
        **_units(scaled),
    )


def free() -> wire.Price:
    """The price of what costs nothing."""
    zero = wire.Rates(**dict.fromkeys(RATES, 0))
    return wire.Price(rates=zero, tiers=[], services=[], **_units(dict.fromkeys(UNITS, 0)))


def info(models: Iterable[Model]) -> wire.ModelInfo | None:
    """What holds for every deployment of a model: the smallest sizes, what all can do, the earliest end."""
    known = list(models)
    if not known:
        return None
    ends = [model.ends for model in known if model.ends is not None]
    return wire.ModelInfo(
        context_window=min((m.context_window for m in known if m.context_window is not None), default=None),
        max_output=min((m.max_output for m in known if m.max_output is not None), default=None),
        takes=_common(model.takes for model in known),
        gives=_common(model.gives for model in known),
        can=_common(model.can for model in known),
        ends=min(ends, default=None),
    )


def _common(lists: Iterable[tuple[str, ...]]) -> list[str]:
    return sorted(set.intersection(*(set(names) for names in lists)))


def _rates(rates: Rates) -> wire.Rates:
    return wire.Rates(**{name: getattr(rates, name) for name in RATES})


def _own_rates(rates: ConfigRates) -> wire.Rates:
    return wire.Rates(**{name: _plain(getattr(rates, f"{name}{_PER_MILLION}")) for name in RATES})


def _units(amounts: Mapping[str, int | None]) -> dict[str, int | None]:
    return {name: amounts[name] for name in UNITS}


def _plain(value: int | None) -> int | None:
    return None if value is None else int(value)
