"""The presets: a TOML file each under `guard/presets`, reviewed data without code.

Every pattern has a source, texts it must find and texts it must leave alone; a test holds them to that.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Final

import msgspec
from msgspec import Meta

DIRECTORY: Final = "presets"


class PresetError(ValueError):
    """A preset file that cannot be used."""


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to look for: a regular expression, or words. `label` stands where it was cut out."""

    label: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]
    regex: str | None = None
    words: tuple[str, ...] = ()
    ignore_case: bool = False
    validator: str | None = None
    source: Annotated[str, Meta(min_length=4)]
    finds: Annotated[tuple[str, ...], Meta(min_length=1)]
    spares: Annotated[tuple[str, ...], Meta(min_length=1)]


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Patterns that are switched on together, with those of the presets it includes."""

    title: str
    includes: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()


@cache
def load() -> Mapping[str, Preset]:
    """All presets by name. Raises PresetError."""
    found = {}
    for file in sorted((resources.files(__package__) / DIRECTORY).iterdir(), key=lambda file: file.name):
        name, _, suffix = file.name.rpartition(".")
        if suffix == "toml":
            try:
                found[name] = msgspec.convert(tomllib.loads(file.read_text("utf-8")), Preset)
            except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
                raise PresetError(f"preset {name}: {error}") from None
    for name, preset in found.items():
        if missing := [include for include in preset.includes if include not in found]:
            raise PresetError(f"preset {name} includes {missing[0]}, which does not exist")
    return found


def patterns(names: tuple[str, ...]) -> list[Pattern]:
    """The patterns of presets and of those they include, each once. The names must exist."""
    presets = load()
    pending, seen = list(reversed(names)), set()
    out: list[Pattern] = []
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            out += presets[name].patterns
            pending += reversed(presets[name].includes)
    return out
