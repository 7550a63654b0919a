"""Price files: other gateways' converted into our format, and ours read beside the catalogue that ships."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from ailink.pricing import litellm, portkey
from ailink.pricing.catalogue import Catalogue

UNIT = "pico-USD per 1,000,000 tokens (extras: of the unit they name; per_request: for one)"


class PriceFileError(Exception):
    """A price file that cannot be used; says why."""


def read(file: Path) -> Catalogue:
    """A file in our own format. Raises PriceFileError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Catalogue)
    except OSError as error:
        raise PriceFileError(f"cannot read {file}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise PriceFileError(f"{file} is no price file: {error}") from None


def from_litellm(text: bytes, date: str) -> Catalogue:
    """LiteLLM's `model_prices_and_context_window.json`. Raises PriceFileError."""
    converter = litellm.Converter()
    models: dict[str, dict[str, Any]] = {}
    entries = {name: entry for name, entry in _object(text).items() if name not in litellm.NOT_MODELS}
    wrong = next((name for name, entry in entries.items() if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise PriceFileError(f"`{wrong}` is not an entry of LiteLLM's price map")
    # Keys that name their provider come last and so win.
    for name in sorted(entries, key=lambda key: (litellm.place(key, entries[key])[2], key)):
        provider, model, _ = litellm.place(name, entries[name])
        models.setdefault(provider, {})[model] = converter.row(entries[name])
    return _catalogue("litellm", text, date, models)


def from_portkey(text: bytes, provider: str, date: str) -> Catalogue:
    """One of Portkey's price files, for one provider. Raises PriceFileError."""
    converter = litellm.Converter()
    models = {}
    for name, entry in _object(text).items():
        if not isinstance(entry, dict):
            raise PriceFileError(f"`{name}` is not an entry of one of Portkey's price files")
        price = None if name == portkey.DEFAULT else portkey.price(entry, converter)
        if price is not None:
            models[name] = {"price": price}
    return _catalogue("portkey", text, date, {provider: models} if models else {})


def encoded(catalogue: Catalogue) -> bytes:
    """The file of a catalogue."""
    return msgspec.json.format(msgspec.json.encode(catalogue), indent=1) + b"\n"


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError) as error:
        raise PriceFileError(f"not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise PriceFileError("a JSON object of models is expected")
    return found


def _catalogue(source: str, text: bytes, date: str, models: dict[str, dict[str, Any]]) -> Catalogue:
    sha256 = hashlib.sha256(text).hexdigest()
    head = {
        "version": f"{source}-import+{sha256[:8]}",
        "date": date,
        "source": source,
        "source_file": "",
        "source_sha256": sha256,
        "licence": "",
        "unit": UNIT,
    }
    if not any(models.values()):
        raise PriceFileError("no model with a price was found")
    try:
        return msgspec.convert({**head, "models": models}, Catalogue)
    except msgspec.ValidationError as error:
        raise PriceFileError(str(error)) from None
