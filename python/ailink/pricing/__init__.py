"""What models cost: a versioned catalogue of exact integer prices."""

from ailink.pricing.catalogue import (
    RATES,
    UNITS,
    Catalogue,
    Model,
    Price,
    Rates,
    Service,
    ServiceRates,
    Tier,
    load,
)

__all__ = [
    "RATES",
    "UNITS",
    "Catalogue",
    "Model",
    "Price",
    "Rates",
    "Service",
    "ServiceRates",
    "Tier",
    "load",
]
