#!/usr/bin/env python3
"""Render `docs/reference/configuration.md` from the structs of `python/ailink/config`.

Usage: .venv/bin/python -m scripts.configuration_page [--check]
"""

import ast
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from scripts.page import publish

from ailink.config.schema import Config
from ailink.config.secret import Secret
from ailink.config.units import Duration, PicoUsd, Share, Size, Tree

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/configuration.md"
HEAD: Final = """\
# Every key of ailink.yaml

Rendered by `scripts/configuration_page.py` from the structs that read the file; do not edit. What the keys
are for, with examples: the guides that [the index](../README.md) names. `ailink check` tells what is wrong in
a file, with its line and the nearest valid key.

A duration is written `250ms`, `5s`, `1h30m`; a size `64KiB`, `10MB`; an amount in US dollars, `0.15`.
`${NAME}` anywhere is taken from the environment. Default "none" is `null`: not set.
"""
WORDS: Final[dict[Any, str]] = {
    str: "text", int: "number", float: "number", bool: "`true` or `false`", Secret: "secret text",
    Duration: "duration", Size: "size", PicoUsd: "amount", Share: "number 0 to 1", Tree: "anything",
}  # fmt: skip
Struct = type[msgspec.Struct]


class Section(NamedTuple):
    """A struct of the file and where it first stands."""

    path: str
    kind: Struct


def sections(kind: Struct, path: str, seen: dict[Struct, str]) -> Iterator[Section]:
    """All structs below, each once, in the order of the file."""
    seen[kind] = path
    yield Section(path, kind)
    for field in msgspec.structs.fields(kind):
        place = f"{path}.{field.encode_name}" if path else field.encode_name
        for inner, mark in structs_of(field.type):
            if inner not in seen:
                yield from sections(inner, place + mark, seen)


def structs_of(annotation: Any, mark: str = "") -> Iterator[tuple[Struct, str]]:
    """The structs an annotation names, with `[]` for those in a list and `.*` for those in a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation, mark
        return
    inside = {tuple: "[]", list: "[]", dict: ".*"}.get(typing.get_origin(annotation), "")
    for part in typing.get_args(annotation):
        yield from structs_of(part, mark + inside)


def told(kind: Struct) -> dict[str, str]:
    """The docstrings of the fields, those of base classes included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is msgspec.Struct or not issubclass(base, msgspec.Struct):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                assert isinstance(field.target, ast.Name)
                assert isinstance(text.value, ast.Constant)
                found[field.target.id] = _line(str(text.value.value))
    return found


def words(annotation: Any, seen: dict[Struct, str]) -> str:
    """What may be written, for people."""
    if annotation in WORDS:
        return WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"[{_line(annotation.__name__)}](#{anchor(seen[annotation])})"
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return words(parts[0], seen) + _bounds(parts[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(words(part, seen) for part in parts if part is not type(None)))
    if origin is tuple:
        return f"list of {words(parts[0], seen)}"
    if origin is dict:
        return f"mapping of {words(parts[0], seen)} to {words(parts[1], seen)}"
    return "anything"


def _bounds(metas: tuple[Any, ...]) -> str:
    """The range of a number."""
    for meta in metas:
        if isinstance(meta, msgspec.Meta) and (meta.ge is not None or meta.le is not None):
            low, high = meta.ge, meta.le
            return (
                f" {low} to {high}"
                if None not in (low, high)
                else f" from {low}"
                if high is None
                else f" to {high}"
            )
    return ""


def _what(field: msgspec.structs.FieldInfo, docs: dict[str, str]) -> str:
    """The field's own words, or the first sentence of what the section it holds says of itself."""
    if text := docs.get(field.name):
        return text
    inner = next(iter(structs_of(field.type)), None)
    said = "" if inner is None else _line(inner[0].__doc__ or "").partition(". ")[0]
    return f"{said.rstrip('.')}." if said else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else value
    if value is msgspec.NODEFAULT:
        return "must be given"
    if value is None:
        return "none"
    if isinstance(value, msgspec.Struct) or value in ((), {}, ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value)
    return f"`{_size(value) if isinstance(value, Size) else value}`"


def _size(value: int) -> str:
    for unit, width in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value and value % width == 0:
            return f"{value // width}{unit}"
    return str(value)


def anchor(path: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^a-z0-9_-]", "", (path or "the whole file").lower().replace(" ", "-"))


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def rendered() -> str:
    """The whole page."""
    seen: dict[Struct, str] = {}
    found = list(sections(Config, "", seen))
    parts = [HEAD]
    for section in found:
        parts.append(f"## {section.path or 'The whole file'}\n")
        parts.append(f"{_line((section.kind.__doc__ or '').strip())}\n")
        docs = told(section.kind)
        fields = msgspec.structs.fields(section.kind)
        cells = [
            (f"`{field.encode_name}`", words(field.type, seen), _default(field), _what(field, docs))
            for field in fields
        ]
        rows = [f"| {' | '.join(row)} |" for row in cells]
        if rows:
            parts.append("\n".join(["| key | takes | default | what |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    publish(PAGE, rendered())
