"""Portkey's price files (`pricing/<provider>.json`) → entries of our catalogue. They count in US cents."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ailink.pricing.litellm import Converter

FIELDS: Final = {
    "request_token": "input",
    "response_token": "output",
    "cache_read_input_token": "cache_read",
    "cache_write_input_token": "cache_write",
    "cache_write_1h": "cache_write_long",
    "request_audio_token": "audio_input",
    "response_audio_token": "audio_output",
    "cache_read_audio_input_token": "cache_read_audio",
    "request_image_token": "image_input",
    "response_image_token": "image_output",
    "reasoning_token": "reasoning",
}
UNITS: Final = {"web_search": "per_search"}
DEFAULT: Final = "default"
"""An entry that stands for every model not listed; not taken over, because nothing is guessed here."""


def price(entry: Mapping[str, Any], converter: Converter) -> dict[str, Any] | None:
    """The price of one model, or None where it names none in US dollars."""
    config = entry.get("pricing_config")
    if not isinstance(config, Mapping) or config.get("currency", "USD") != "USD":
        return None
    found: dict[str, Any] = _rates(config.get("pay_as_you_go"), converter)
    special = _rates(config.get("batch_config"), converter)
    batch = {name: amount for name, amount in special.items() if not name.startswith("per_")}
    if batch:
        found["services"] = {"batch": batch}
    return found or None


def _rates(table: object, converter: Converter) -> dict[str, int]:
    if not isinstance(table, Mapping):
        return {}
    units = table.get("additional_units")
    amounts = {**table, **(units if isinstance(units, Mapping) else {})}
    rates = {}
    for source, name in {**FIELDS, **UNITS}.items():
        cents = amounts.get(source)
        cents = cents.get("price") if isinstance(cents, Mapping) else None
        if isinstance(cents, Decimal):
            rates[name] = converter.amount(cents / 100)
    return rates
