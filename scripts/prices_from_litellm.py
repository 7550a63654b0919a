#!/usr/bin/env python3
"""Convert the price map in LiteLLM's PyPI package into `python/ailink/pricing/catalogue.json`.

Usage: .venv/bin/python scripts/prices_from_litellm.py [--wheel FILE | --version X] [--date YYYY-MM-DD]

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
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ailink.pricing.litellm import NOT_MODELS, Converter, place

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "python/ailink/pricing/catalogue.json"
MEMBER = "litellm/model_prices_and_context_window_backup.json"


class Source:
    """The price map of one package version."""

    def __init__(self, text: bytes, version: str) -> None:
        self.version = version
        self.sha256 = hashlib.sha256(text).hexdigest()
        entries: dict[str, dict[str, Any]] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        self.entries = {name: entry for name, entry in entries.items() if name not in NOT_MODELS}


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
