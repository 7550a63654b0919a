#!/usr/bin/env python3
"""Convert the price map in LiteLLM's PyPI package into `python/ailink/pricing/catalogue.json`.

Usage: python3 scripts/prices_from_litellm.py [--wheel FILE | --version X] [--date YYYY-MM-DD]

Only facts are taken (prices, sizes, modes, end dates); the map is MIT-licensed and named in NOTICE and in the
file itself. Every amount is computed from the text of the JSON number with `Decimal`, so nothing passes
through a binary float: USD per unit becomes an integer in pico-USD per 1,000,000 units (per_request: pico-USD
for one). The few numbers of the source that carry more than 18 decimals (a float's noise) are rounded
half-even and counted.

One input and one date give one output, byte for byte: keys sorted, one line per model, so that an update
reads as a diff.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "python/ailink/pricing/catalogue.json"
MEMBER = "litellm/model_prices_and_context_window_backup.json"
NOT_MODELS = {"sample_spec", "fallback_generalizations"}

PICO_PER_USD = 10**12
UNITS = 10**6

# The source splits some providers by wire format or vendor; a price belongs to the provider alone.
FAMILIES = {
    "azure_text": "azure",
    "bedrock_converse": "bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai-embedding-models": "fireworks_ai",
    "text-completion-codestral": "codestral",
    "text-completion-inception": "inception",
    "text-completion-openai": "openai",
}

# Prices of the standard tier that have a field of their own; all others become named extras.
FIELDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
CACHE_HIT = "input_cost_per_token_cache_hit"  # an older name of cache_read
PER_REQUEST = "input_cost_per_request"
PER_QUERY = "input_cost_per_query"
ONE_QUERY_MODES = {"rerank", "search"}  # in these modes a request is one query

# Known price-like fields that are no amount of money per unit, or a rule this file does not express.
NOT_KEPT = {
    "off_peak_pricing",
    "guardrail_cost_per_unit",
    "input_dbu_cost_per_token",
    "output_dbu_cost_per_token",
}

ABOVE = re.compile(r"(.+)_above_(\d+)k_tokens")


class Source:
    """The price map of one package version."""

    def __init__(self, text: bytes, version: str) -> None:
        self.version = version
        self.sha256 = hashlib.sha256(text).hexdigest()
        entries: dict[str, dict[str, Any]] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        self.entries = {name: entry for name, entry in entries.items() if name not in NOT_MODELS}


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
        price: dict[str, Any] = {}
        extras: dict[str, int] = {}
        tiers: dict[int, dict[str, int]] = {}
        for name, usd in amounts(entry):
            above = ABOVE.fullmatch(name)
            if name in FIELDS:
                price[FIELDS[name]] = self.amount(usd)
            elif above and above[1] in FIELDS:
                tiers.setdefault(int(above[2]) * 1000, {})[FIELDS[above[1]]] = self.amount(usd)
            elif name == PER_REQUEST or (name == PER_QUERY and entry.get("mode") in ONE_QUERY_MODES):
                price["per_request"] = self.amount(usd, units=1)
            else:
                extras[extra_name(name)] = self.amount(usd)
        if CACHE_HIT in entry:
            price.setdefault("cache_read", self.amount(entry[CACHE_HIT]))
        for step in entry.get("tiered_pricing", ()):
            if "range" not in step:  # tiers by number of results, not by tokens: not kept
                continue
            rates = {FIELDS[name]: self.amount(usd) for name, usd in amounts(step) if name in FIELDS}
            start = int(step["range"][0])
            if start == 0:
                price = {**rates, **price}
            else:
                tiers.setdefault(start, {}).update(rates)
        if tiers:
            price["tiers"] = [
                {"above": start, **dict(sorted(tiers[start].items()))} for start in sorted(tiers)
            ]
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
        return row


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


def convert(source: Source, date: str) -> tuple[str, Converter]:
    """The catalogue as text, and the converter with its counts."""
    converter = Converter()
    models: dict[str, dict[str, dict[str, Any]]] = {}
    # Keys that name their provider come last and so win.
    for name in sorted(source.entries, key=lambda key: (place(key, source.entries[key])[2], key)):
        provider, model, _ = place(name, source.entries[name])
        models.setdefault(provider, {})[model] = converter.row(source.entries[name])
    head = {
        "version": f"litellm-{source.version}+{source.sha256[:8]}",
        "date": date,
        "source": "https://pypi.org/project/litellm/",
        "source_file": MEMBER,
        "source_sha256": source.sha256,
        "licence": "MIT, Copyright (c) 2023 Berri AI; facts only, see NOTICE",
        "unit": "pico-USD per 1,000,000 tokens (extras: of the unit they name; per_request: for one)",
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    blocks = []
    for provider in sorted(models):
        rows = [
            f"{json.dumps(m)}: {json.dumps(models[provider][m], separators=(',', ':'))}"
            for m in sorted(models[provider])
        ]
        blocks.append(f"{json.dumps(provider)}: {{\n" + ",\n".join(rows) + "\n}")
    return "{\n" + "\n".join(lines) + '\n"models": {\n' + ",\n".join(blocks) + "\n}\n}\n", converter


def fetch(version: str | None, folder: Path) -> Path:
    """The wheel from the package index, by pip."""
    requirement = f"litellm=={version}" if version else "litellm"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        requirement,
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("litellm-*.whl"))


def read(wheel: Path) -> Source:
    """The price map inside a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return Source(archive.read(MEMBER), wheel.name.split("-")[1])


def main() -> None:
    """Fetch, convert, write; tell what changed in shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help="a wheel at hand, instead of the newest from the index")
    parser.add_argument("--version", help="a version to fetch, instead of the newest")
    parser.add_argument(
        "--date",
        default=datetime.now(UTC).date().isoformat(),
        help="the date written into the file (default: today)",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = read(options.wheel or fetch(options.version, Path(folder)))
    text, converter = convert(source, options.date)
    TARGET.write_text(text)
    size = f"{len(source.entries)} entries, {len(text):,} bytes, {converter.rounded} amounts rounded"
    print(f"{TARGET.relative_to(ROOT)}: {size}")


if __name__ == "__main__":
    main()
