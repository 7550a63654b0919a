"""The price catalogue: `catalogue.json`, typed.

The data file is written by `scripts/prices_from_litellm.py`. Amounts are integers in pico-USD per 1,000,000
tokens (1 USD = 10¹² pico-USD), so the cost of a request is a sum of products of integers, rounded once.
"""

import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Final, Literal

import msgspec


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices per 1,000,000 tokens by class. None: the source names no such price; 0: it is free."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    """Kept for the shortest time the provider offers (5 minutes at Anthropic)."""
    cache_write_long: int | None = None
    """Kept for an hour."""
    audio_input: int | None = None
    audio_output: int | None = None
    cache_read_audio: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    cache_read_image: int | None = None
    reasoning: int | None = None


RATES: Final = Rates.__struct_fields__


class Tier(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices that replace the base ones when the prompt has more than `above` tokens."""

    above: int


class ServiceRates(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices of a service (batch, flex, …) where they differ from the standard's."""

    tiers: tuple[Tier, ...] = ()


Service = Literal["batch", "flex", "priority", "ultrafast"]
"""`priority` is what OpenAI calls `fast` today."""


class Price(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model costs.

    `per_request` in pico-USD for one request, the other `per_…` per 1,000,000 of their unit. `extras`: what
    the gateway does not charge by, in pico-USD per 1,000,000 of the unit that the name tells
    (`input_per_image`, `output_per_pixel`, …).
    """

    per_request: int | None = None
    per_search: int | None = None
    per_image: int | None = None
    per_second: int | None = None
    per_character: int | None = None
    tiers: tuple[Tier, ...] = ()
    services: dict[Service, ServiceRates] = {}
    extras: dict[str, int] = {}


UNITS: Final = ("per_request", "per_search", "per_image", "per_second", "per_character")


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known about a model: price, sizes in tokens, mode (`chat`, `embedding`, …), day it ends
    (YYYY-MM-DD), what it takes and gives, what it can do.
    """

    price: Price | None = None
    context_window: int | None = None
    max_output: int | None = None
    mode: str | None = None
    ends: str | None = None
    takes: tuple[str, ...] = ()
    """Modalities of input: `text`, `image`, `audio`, `video`."""
    gives: tuple[str, ...] = ()
    can: tuple[str, ...] = ()
    """Capabilities: `tools`, `vision`, `reasoning`, `json_schema`, …"""


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a catalogue is from. `version` is what the ledger records beside each cost."""

    version: str
    date: str
    source: str
    source_file: str
    source_sha256: str
    licence: str
    unit: str


class Catalogue(
    About, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"by_provider": "models"}
):
    """Models by provider and name."""

    by_provider: Mapping[str, dict[str, Model]]

    @property
    def providers(self) -> list[str]:
        """The providers that have entries, sorted."""
        return sorted(self.by_provider)

    def models(self, provider: str) -> dict[str, Model]:
        """All entries of a provider by model name; empty where the provider is unknown."""
        return self.by_provider.get(provider, {})

    def model(self, provider: str, model: str) -> Model | None:
        """The entry of a model, by its exact name; its provider's name and a slash may stand in front
        (`openai/gpt-4o` at openai). Nothing is guessed from a similar name: a wrong price is worse than none.
        """
        entries = self.models(provider)
        return entries.get(model) or entries.get(model.removeprefix(f"{provider}/"))

    def price(self, provider: str, model: str) -> Price | None:
        """The price of a model, found as by `model()`; None where there is no entry or it names no price."""
        entry = self.model(provider, model)
        return entry.price if entry else None


class _Unread(About, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"by_provider": "models"}):
    by_provider: dict[str, msgspec.Raw]


class _Tables(Mapping[str, dict[str, Model]]):
    """Tables that are read when their provider is first asked for: all of them take five megabytes."""

    def __init__(self, unread: dict[str, msgspec.Raw]) -> None:
        self._unread = unread
        self._read: dict[str, dict[str, Model]] = {}

    def __getitem__(self, provider: str) -> dict[str, Model]:
        if provider not in self._read:
            self._read[provider] = msgspec.json.decode(self._unread[provider], type=dict[str, Model])
        return self._read[provider]

    def __iter__(self) -> Iterator[str]:
        return iter(self._unread)

    def __len__(self) -> int:
        return len(self._unread)


@functools.cache
def load() -> Catalogue:
    """The catalogue that ships with this version, read on the first call."""
    data = resources.files("ailink.pricing").joinpath("catalogue.json").read_bytes()
    unread = msgspec.json.decode(data, type=_Unread)
    about = {name: getattr(unread, name) for name in About.__struct_fields__}
    return Catalogue(**about, by_provider=_Tables(unread.by_provider))
