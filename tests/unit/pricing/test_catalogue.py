"""The shipped catalogue: known prices, look-up rules, and that its file is well formed."""

import re
from datetime import date
from importlib import resources

import msgspec
import pytest

from ailink.pricing import RATES, UNITS, Catalogue, load
from ailink.providers.registry import Registry

USD = 10**12


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


# From the providers' price pages, USD per million tokens: input, output.
KNOWN = {
    ("openai", "gpt-4o-mini"): ("0.15", "0.60"),
    ("openai", "gpt-4o"): ("2.50", "10.00"),
    ("openai", "gpt-4.1-nano"): ("0.10", "0.40"),
    ("openai", "text-embedding-3-small"): ("0.02", "0"),
    ("anthropic", "claude-sonnet-4-5"): ("3.00", "15.00"),
    ("anthropic", "claude-haiku-4-5"): ("1.00", "5.00"),
    ("gemini", "gemini-2.5-pro"): ("1.25", "10.00"),
    ("azure", "gpt-4o"): ("2.50", "10.00"),
}


@pytest.mark.parametrize(("key", "usd"), KNOWN.items(), ids=lambda value: "/".join(value))
def test_known_prices(catalogue: Catalogue, key: tuple[str, str], usd: tuple[str, str]) -> None:
    price = catalogue.price(*key)
    assert price is not None
    assert (price.input, price.output) == tuple(round(float(amount) * 100) * USD // 100 for amount in usd)


def test_known_sizes(catalogue: Catalogue) -> None:
    model = catalogue.model("openai", "gpt-4o-mini")
    assert model is not None
    assert (model.context_window, model.max_output, model.mode) == (128_000, 16_384, "chat")


def test_the_file_round_trips(catalogue: Catalogue) -> None:
    data = resources.files("ailink.pricing").joinpath("catalogue.json").read_bytes()
    whole = msgspec.json.decode(data, type=Catalogue)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Catalogue) == whole
    # What is read table by table is the same.
    assert catalogue == msgspec.structs.replace(whole, by_provider=catalogue.by_provider)
    assert dict(catalogue.by_provider) == whole.by_provider
    assert "nobody" not in catalogue.by_provider


def test_every_amount_fits_and_is_not_negative(catalogue: Catalogue) -> None:
    prices = [m.price for models in catalogue.by_provider.values() for m in models.values() if m.price]
    assert len(prices) > 3500
    for price in prices:
        tables = [price, *price.tiers, *price.services.values()]
        tables += [tier for special in price.services.values() for tier in special.tiers]
        amounts = [getattr(table, name) for table in tables for name in RATES]
        amounts += [getattr(price, name) for name in UNITS] + list(price.extras.values())
        assert all(amount is None or 0 <= amount < 2**63 for amount in amounts)
        for tiers in (price.tiers, *(special.tiers for special in price.services.values())):
            steps = [tier.above for tier in tiers]
            assert steps == sorted(set(steps))
            assert not steps or steps[0] > 0


def test_facts_beside_prices(catalogue: Catalogue) -> None:
    model = catalogue.model("anthropic", "claude-sonnet-4-5")
    assert model is not None
    assert {"tools", "vision", "prompt_caching"} <= set(model.can)
    days = [m.ends for models in catalogue.by_provider.values() for m in models.values() if m.ends]
    assert len(days) > 500
    assert all(date.fromisoformat(day) for day in days)


def test_names_are_ours(catalogue: Catalogue) -> None:
    extras = {
        name
        for ms in catalogue.by_provider.values()
        for m in ms.values()
        if m.price
        for name in m.price.extras
    }
    assert all(re.fullmatch(r"[a-z][\w.]*", name) and "cost" not in name for name in extras)


def test_a_look_up_never_guesses(catalogue: Catalogue) -> None:
    assert catalogue.price("openai", "gpt-4o-min") is None
    assert catalogue.price("openai", "gpt-4o-mini-of-mine") is None
    assert catalogue.price("openai", "GPT-4o-mini") is None
    assert catalogue.price("openai", "") is None
    assert catalogue.price("nobody", "gpt-4o-mini") is None
    assert catalogue.price("openai", "azure/gpt-4o") is None


def test_a_model_may_bear_its_providers_name(catalogue: Catalogue) -> None:
    assert catalogue.price("openai", "openai/gpt-4o-mini") == catalogue.price("openai", "gpt-4o-mini")


def test_every_price_family_of_the_registry_has_prices(catalogue: Catalogue) -> None:
    families = {row.price_family for row in Registry.builtin() if row.price_family is not None}
    assert families <= set(catalogue.providers)


def test_a_model_without_a_price_is_known_but_unpriced(catalogue: Catalogue) -> None:
    unpriced = [
        (provider, name)
        for provider in catalogue.providers
        for name, m in catalogue.models(provider).items()
        if m.price is None
    ]
    assert unpriced
    assert all(catalogue.price(*key) is None and catalogue.model(*key) is not None for key in unpriced)


def test_unknown_providers_have_no_models(catalogue: Catalogue) -> None:
    assert catalogue.models("nobody") == {}
    assert "openai" in catalogue.providers
