"""The conversion of the source map: exact against fractions, deterministic, every shape of price."""

import json
import os
import zipfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts.prices_from_litellm import Source, convert, read

from ailink.pricing import Catalogue, Price, ServiceRates, Tier
from ailink.pricing.litellm import FIELDS, NOT_MODELS, Converter, place

SAMPLE = Path(__file__).parent / "sample.json"
PER_MILLION = Fraction(10**12 * 10**6)


def catalogue_of(source: Source) -> Catalogue:
    text, _ = convert(source, "2026-01-31")
    return msgspec.json.decode(text, type=Catalogue)


@pytest.fixture(scope="module")
def sample() -> Source:
    return Source(SAMPLE.read_bytes(), "1.2.3")


def nearest(value: Fraction) -> int:
    """Round half-even; the obvious twin of the converter's rounding."""
    return round(value)


@given(digits=st.integers(0, 10**9), exponent=st.integers(-30, 0))
def test_an_amount_is_the_fraction_rounded_half_even(digits: int, exponent: int) -> None:
    converter = Converter()
    exact = Fraction(digits) * Fraction(10) ** exponent * PER_MILLION
    assert converter.amount(Decimal((0, tuple(map(int, str(digits))), exponent))) == nearest(exact)
    assert converter.rounded == (exact.denominator != 1)


def check_every_amount(text: bytes, catalogue: Catalogue) -> int:
    """Compare each base price of a map with the catalogue's, computed from the number's own text as a
    fraction.
    """
    entries: dict[str, Any] = json.loads(text, parse_float=Fraction, parse_int=Fraction)
    checked = 0
    owners = {}
    for key in sorted(
        (k for k in entries if k not in NOT_MODELS), key=lambda k: (place(k, entries[k])[2], k)
    ):
        owners[place(key, entries[key])[:2]] = key
    for (provider, model), key in owners.items():
        found = catalogue.by_provider[provider][model]
        for field, name in FIELDS.items():
            if field in entries[key]:
                assert found.price is not None
                assert getattr(found.price, name) == nearest(entries[key][field] * PER_MILLION), (key, field)
                checked += 1
    return checked


def test_every_price_of_the_sample_is_exact(sample: Source) -> None:
    assert check_every_amount(SAMPLE.read_bytes(), catalogue_of(sample)) > 30


@pytest.mark.skipif(
    "AILINK_PRICE_WHEEL" not in os.environ, reason="needs the source package: AILINK_PRICE_WHEEL=FILE"
)
def test_every_price_of_the_source_package_is_exact() -> None:

    wheel = Path(os.environ["AILINK_PRICE_WHEEL"])
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("litellm/model_prices_and_context_window_backup.json")
    assert check_every_amount(text, catalogue_of(read(wheel))) > 6000


def test_same_input_same_bytes(sample: Source) -> None:
    shuffled = dict(reversed(json.loads(SAMPLE.read_text(), parse_float=Decimal).items()))
    again = Source(SAMPLE.read_bytes(), "1.2.3")
    again.entries = {k: sample.entries[k] for k in shuffled if k in sample.entries}
    assert convert(sample, "2026-01-31")[0] == convert(again, "2026-01-31")[0]
    assert convert(sample, "2026-01-31")[0] != convert(sample, "2026-02-01")[0]


def test_noise_of_binary_floats_is_rounded_and_counted(sample: Source) -> None:
    _, converter = convert(sample, "2026-01-31")
    assert converter.rounded == 3
    price = catalogue_of(sample).price("opencode_go", "gpt-6-luna")
    assert price is not None
    assert price.input == 100_000_000_000


def test_the_header_tells_source_version_and_licence(sample: Source) -> None:
    catalogue = catalogue_of(sample)
    assert catalogue.version == f"litellm-1.2.3+{sample.sha256[:8]}"
    assert catalogue.date == "2026-01-31"
    assert catalogue.licence.startswith("MIT")


def test_entries_that_are_no_models_are_left_out(sample: Source) -> None:
    assert all("sample_spec" not in models for models in catalogue_of(sample).by_provider.values())


def test_prices_above_a_prompt_size_become_tiers(sample: Source) -> None:
    catalogue = catalogue_of(sample)
    gemini = catalogue.price("gemini", "gemini-2.5-pro")
    assert gemini is not None
    assert gemini.tiers == (
        Tier(above=200_000, input=2_500_000_000_000, output=15_000_000_000_000, cache_read=250_000_000_000),
    )
    qwen = catalogue.price("dashscope", "qwen3-coder-plus")
    assert qwen is not None
    assert (qwen.input, qwen.output) == (1_000_000_000_000, 5_000_000_000_000)
    assert [tier.above for tier in qwen.tiers] == [32_000, 128_000, 256_000]


def test_tiers_by_number_of_results_are_not_token_prices(sample: Source) -> None:
    assert catalogue_of(sample).price("exa_ai", "search") is None


def test_prices_without_a_field_keep_a_name(sample: Source) -> None:
    catalogue = catalogue_of(sample)
    expected = {
        ("openai", "whisper-1"): Price(per_second=10**14),
        ("openai", "tts-1"): Price(per_character=15 * 10**12),
        ("aiml", "flux/kontext-max/text-to-image"): Price(per_image=104 * 10**15),
        ("cohere", "rerank-v3.5"): Price(input=0, output=0, per_request=2 * 10**9),
    }
    assert {key: catalogue.price(*key) for key in expected} == expected
    mini = catalogue.price("openai", "gpt-4o-mini")
    assert mini is not None
    assert mini.services.keys() == {"batch", "priority"}
    assert mini.services["batch"] == ServiceRates(input=75 * 10**9, output=3 * 10**11)
    assert "search_low_per_query" in mini.extras


def test_a_provider_split_by_wire_format_is_one(sample: Source) -> None:
    catalogue = catalogue_of(sample)
    assert catalogue.price("vertex_ai", "claude-sonnet-4-5") is not None
    assert catalogue.price("bedrock", "us.writer.palmyra-x4-v1:0") is not None
