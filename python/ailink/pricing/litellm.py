"""LiteLLM's price map → entries of our catalogue. Facts only: prices, sizes, modes, dates.

Every amount is computed from the text of the JSON number with `Decimal`, so nothing passes through a binary
float: USD per unit becomes an integer in pico-USD per 1,000,000 units (`per_request`: pico-USD for one).
Numbers with more than 18 decimals (a float's noise) are rounded half-even and counted.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any, Final

NOT_MODELS: Final = frozenset({"sample_spec", "fallback_generalizations"})
PICO_PER_USD: Final = 10**12
UNITS: Final = 10**6

FAMILIES: Final = {
    "azure_text": "azure",
    "bedrock_converse": "bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai-embedding-models": "fireworks_ai",
    "text-completion-codestral": "codestral",
    "text-completion-inception": "inception",
    "text-completion-openai": "openai",
}
"""The source splits some providers by wire format or vendor; a price belongs to the provider alone."""

FIELDS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_long",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "cache_read_input_image_token_cost": "cache_read_image",
    "output_cost_per_reasoning_token": "reasoning",
}
"""Prices per token that have a field of their own; all others become named extras."""
PER_UNIT: Final = {
    "output_cost_per_image": "per_image",
    "input_cost_per_character": "per_character",
    "search_medium_per_query": "per_search",
}
PER_SECOND: Final = ("output_cost_per_second", "input_cost_per_second")
"""Two names of one price: what sound costs by its length."""
SERVICES: Final = {"batches": "batch", "flex": "flex", "priority": "priority", "ultrafast": "ultrafast"}
CACHE_HIT: Final = "input_cost_per_token_cache_hit"
"""An older name of cache_read."""
PER_REQUEST: Final = "input_cost_per_request"
PER_QUERY: Final = "input_cost_per_query"
ONE_QUERY_MODES: Final = frozenset({"rerank", "search"})
"""In these modes a request is one query."""

NOT_KEPT: Final = frozenset(
    {"off_peak_pricing", "guardrail_cost_per_unit", "input_dbu_cost_per_token", "output_dbu_cost_per_token"}
)
"""Price-like fields that are no amount of money per unit, or a rule that the catalogue does not express."""

CAPABILITIES: Final = {
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_vision": "vision",
    "supports_reasoning": "reasoning",
    "supports_response_schema": "json_schema",
    "supports_prompt_caching": "prompt_caching",
    "supports_pdf_input": "documents",
    "supports_audio_input": "audio_input",
    "supports_audio_output": "audio_output",
    "supports_video_input": "video_input",
    "supports_web_search": "web_search",
    "supports_computer_use": "computer_use",
    "supports_assistant_prefill": "prefill",
}

SERVICE_SUFFIX: Final = re.compile(r"(.+)_(batches|flex|priority|ultrafast)")
ABOVE: Final = re.compile(r"(.+)_above_(\d+)k_tokens")


class Converter:
    """Turns entries into rows, and counts what had to be rounded."""

    def __init__(self) -> None:
        self.rounded = 0

    def amount(self, usd: Decimal, units: int = UNITS) -> int:
        """USD per unit as an integer: pico-USD per `units`."""
        exact = usd * PICO_PER_USD * units
        whole = exact.to_integral_value(rounding=ROUND_HALF_EVEN)
        self.rounded += whole != exact
        return int(whole)

    def price(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """The money part of an entry, or None where it names no price."""
        rates = _Rates()
        units: dict[str, int] = {}
        extras: dict[str, int] = {}
        seconds = []
        for name, usd in amounts(entry):
            if rates.take(name, partial(self.amount, usd)):
                continue
            if name in PER_UNIT:
                units[PER_UNIT[name]] = self.amount(usd)
            elif name in PER_SECOND:
                seconds.append(self.amount(usd))
            elif name == PER_REQUEST or (name == PER_QUERY and entry.get("mode") in ONE_QUERY_MODES):
                units["per_request"] = self.amount(usd, units=1)
            else:
                extras[extra_name(name)] = self.amount(usd)
        if seconds:
            units["per_second"] = max(seconds)
        if CACHE_HIT in entry:
            rates.base.setdefault("cache_read", self.amount(entry[CACHE_HIT]))
        for step in entry.get("tiered_pricing", ()):
            if "range" not in step:  # tiers by number of results, not by tokens: not kept
                continue
            found = {FIELDS[name]: self.amount(usd) for name, usd in amounts(step) if name in FIELDS}
            start = int(step["range"][0])
            if start == 0:
                rates.base = {**found, **rates.base}
            else:
                rates.tiers.setdefault(start, {}).update(found)
        price = rates.plain() | units
        if extras:
            price["extras"] = dict(sorted(extras.items()))
        return price or None

    def row(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """One model as it stands in the catalogue."""
        row: dict[str, Any] = {}
        if (price := self.price(entry)) is not None:
            row["price"] = price
        context = entry.get("max_input_tokens", entry.get("max_tokens"))
        for name, size in (("context_window", context), ("max_output", entry.get("max_output_tokens"))):
            if isinstance(size, Decimal) and size > 0:
                row[name] = int(size)
        if isinstance(entry.get("mode"), str):
            row["mode"] = entry["mode"]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", str(entry.get("deprecation_date"))):
            row["ends"] = entry["deprecation_date"]
        for name, field in (("takes", "supported_modalities"), ("gives", "supported_output_modalities")):
            if isinstance(entry.get(field), list) and (kinds := sorted({str(kind) for kind in entry[field]})):
                row[name] = kinds
        if can := sorted(word for flag, word in CAPABILITIES.items() if entry.get(flag) is True):
            row["can"] = can
        return row


class _Rates:
    """Prices per token of one entry: base, tiers, and the same for each service."""

    def __init__(self) -> None:
        self.base: dict[str, int] = {}
        self.tiers: dict[int, dict[str, int]] = {}
        self.services: dict[str, _Rates] = {}

    def take(self, name: str, amount: Callable[[], int]) -> bool:
        """Keeps a price by its name in the source; False where it is none per token."""
        special = SERVICE_SUFFIX.fullmatch(name)
        if special:
            inner = _Rates()
            taken = inner.take(special[1], amount)
            if taken:
                self.services.setdefault(SERVICES[special[2]], _Rates()).update(inner)
            return taken
        above = ABOVE.fullmatch(name)
        if name in FIELDS:
            self.base[FIELDS[name]] = amount()
        elif above and above[1] in FIELDS:
            self.tiers.setdefault(int(above[2]) * 1000, {})[FIELDS[above[1]]] = amount()
        else:
            return False
        return True

    def update(self, other: "_Rates") -> None:
        self.base |= other.base
        for start, rates in other.tiers.items():
            self.tiers.setdefault(start, {}).update(rates)

    def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(sorted(self.base.items()))
        if self.tiers:
            found["tiers"] = [
                {"above": start, **dict(sorted(self.tiers[start].items()))} for start in sorted(self.tiers)
            ]
        if self.services:
            found["services"] = {name: self.services[name].plain() for name in sorted(self.services)}
        return found


def amounts(entry: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """The fields of an entry that hold an amount in USD, in a fixed order; nested ones flattened."""
    for name in sorted(entry):
        value = entry[name]
        if "cost" not in name or name in NOT_KEPT or name == CACHE_HIT:
            continue
        if name == "search_context_cost_per_query":
            yield from (
                (f"{size.removesuffix('_size')}_per_query".replace("_context_size", ""), value[size])
                for size in sorted(value)
            )
        elif isinstance(value, Decimal):
            yield name, value


def extra_name(name: str) -> str:
    """The catalogue's name of a price without a field: `output_cost_per_image` → `output_per_image`."""
    for source in sorted(FIELDS, key=len, reverse=True):
        if name.startswith(f"{source}_"):
            return FIELDS[source] + name.removeprefix(source).replace("_batches", "_batch")
    name = name.replace("cache_creation_input", "cache_write").replace("cache_read_input", "cache_read")
    return (
        name.replace("_cost_per_", "_per_")
        .removeprefix("cost_")
        .replace("_token_cost", "")
        .replace("_batches", "_batch")
    )


def place(name: str, entry: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Provider, model, and whether the key itself named the provider (then it wins over one that did not)."""
    provider = str(entry.get("litellm_provider", ""))
    provider = "vertex_ai" if provider.startswith("vertex_ai") else FAMILIES.get(provider, provider)
    head, _, rest = name.partition("/")
    if rest and head.replace("-", "_") == provider.replace("-", "_"):
        return provider, rest, True
    return provider, name, False
