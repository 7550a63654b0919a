"""Fills the schema's structs from a tree of nodes, and says everything that is wrong, each with its place.

Written by hand instead of `msgspec.convert`, which stops at the first fault, knows no positions and would
want the types settled before `${VAR}` is filled in: an expanded value takes the type its place asks for.
A faulty value is left out, so that the checks after this one still run over the rest.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta

from ailink.config import yaml12
from ailink.config.expand import ExpansionError, expand
from ailink.config.problems import Path, Place, Problem, did_you_mean, render_path
from ailink.config.schema import Config, Strict
from ailink.config.secret import Secret
from ailink.config.units import Duration, PicoUsd, Share, Similarity, Size, Tree
from ailink.config.yaml12 import Node, Scalar


class _Bad:
    """What a read gives when it has reported a problem."""


BAD: Final = _Bad()

_PARSED: Final[dict[Any, Callable[[object], object]]] = {
    Duration: Duration.parse,
    Size: Size.parse,
    PicoUsd: PicoUsd.parse,
    Secret: Secret.parse,
    Similarity: Similarity.parse,
    Share: Share.parse,
}


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A type of the schema, taken apart once."""

    kind: Literal["struct", "list", "map", "choice", "text", "integer", "flag", "parsed", "tree"]
    nullable: bool = False
    type: Any = None
    inner: Any = None
    key: Any = None
    meta: Meta | None = None


class Reader:
    """One read of one document. `problems` grows; `env` fills in `${VAR}`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.faulty: set[Path] = set()
        """Where the problems are."""
        self.dropped: set[Path] = set()
        """List items that were left out, so that later ones have moved up."""
        self._env = env

    def config(self, node: Node | None, place: Place) -> Config | None:
        """The document as a Config; None when not even defaults could stand in for what is wrong."""
        if node is None:
            return Config()
        value = self.read(node, Config, ())
        if isinstance(value, _Bad):
            return None
        return value if isinstance(value, Config) else Config()

    def report(self, place: Place, path: Path, message: str) -> _Bad:
        self.problems.append(Problem(place=place, path=render_path(path), message=message))
        self.faulty.add(path)
        return BAD

    def read(self, node: Node, want: Any, path: Path) -> Any:
        """The value of `node` as type `want`; None for null; BAD after a problem was reported."""
        shape = _shape(want)
        if shape.kind == "tree":
            return self._tree(node, path)
        if isinstance(node, Scalar):
            return self._scalar(node, shape, path)
        if isinstance(node, yaml12.Sequence):
            if shape.kind != "list":
                return self.report(node.place, path, f"expected {_expectation(shape)}, got a list")
            return self._list(node, shape, path)
        if shape.kind == "struct":
            return self._struct(node, shape.type, path)
        if shape.kind == "map":
            return self._map(node, shape, path)
        return self.report(node.place, path, f"expected {_expectation(shape)}, got a mapping")

    def _tree(self, node: Node, path: Path) -> Any:
        """Whatever stands there, as JSON; a text is taken to be JSON already."""
        if isinstance(node, Scalar):
            return Tree(node.text) if node.text else None
        return Tree(json.dumps(self._plain(node, path), ensure_ascii=False))

    def _plain(self, node: Node, path: Path) -> Any:
        if isinstance(node, yaml12.Sequence):
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.items)]
        if isinstance(node, yaml12.Mapping):
            return {key: self._plain(item, (*path, key)) for key, item in node.entries.items()}
        try:
            text = expand(node.text, self._env)
        except ExpansionError as error:
            self.report(node.place, path, str(error))
            return None
        value = yaml12.resolve(text) if node.plain and text is node.text else text
        return float(value) if isinstance(value, Decimal) else value

    def _struct(self, node: yaml12.Mapping, cls: type[Strict], path: Path) -> Any:
        fields = _fields(cls)
        self._unknown_keys(node, cls, path)
        values: dict[str, object] = {}
        failed = False
        for name, (want, required) in fields.items():
            entry = node.entries.get(name)
            value = None if entry is None else self.read(entry, want, (*path, name))
            missing = value is None and not (entry is not None and _shape(want).nullable)
            if missing and required:
                self.report(node.place, path, f"`{name}` is missing")
                failed = True
            elif isinstance(value, _Bad):
                failed = failed or required
            elif not missing:
                values[name] = value
        return BAD if failed else cls(**values)

    def _unknown_keys(self, node: yaml12.Mapping, cls: type[Strict], path: Path) -> None:
        known = _fields(cls)
        for key in node.entries:
            if key in cls.reserved:
                text = f"`{key}` is reserved, not supported in this version"
                self.report(node.keys[key], (*path, key), text)
            elif key not in known:
                self.report(node.keys[key], (*path, key), f"unknown key `{key}`{did_you_mean(key, known)}")

    def _list(self, node: yaml12.Sequence, shape: _Shape, path: Path) -> tuple[object, ...]:
        values = []
        for index, item in enumerate(node.items):
            value = self.read(item, shape.inner, (*path, index))
            if value is None:
                value = self._nothing(item, shape, (*path, index))
            if isinstance(value, _Bad):
                self.dropped.add((*path, index))
            else:
                values.append(value)
        return tuple(values)

    def _map(self, node: yaml12.Mapping, shape: _Shape, path: Path) -> dict[str, object]:
        values = {}
        key_shape = _shape(shape.key)
        for key, item in node.entries.items():
            if key_shape.kind == "choice" and key not in key_shape.inner:
                text = f"unknown key `{key}`{did_you_mean(key, key_shape.inner) or _one_of(key_shape.inner)}"
                self.report(node.keys[key], (*path, key), text)
                continue
            value = self.read(item, shape.inner, (*path, key))
            if value is None:
                value = self._nothing(item, shape, (*path, key))
            if not isinstance(value, _Bad):
                values[key] = value
        return values

    def _nothing(self, item: Node, shape: _Shape, path: Path) -> _Bad:
        return self.report(item.place, path, f"expected {_expectation(_shape(shape.inner))}, got nothing")

    def _scalar(self, node: Scalar, shape: _Shape, path: Path) -> Any:
        """Null is None: for a nullable type a value, for others the same as leaving the key out."""
        try:
            text = expand(node.text, self._env)
        except ExpansionError as error:
            return self.report(node.place, path, str(error))
        expanded = text is not node.text
        wants_text = shape.kind in {"text", "choice"} or shape.type is Secret
        value: object = text
        if text == "" and (expanded or node.plain):
            return None
        # In a flow mapping `"${PORT}"` needs its quotes, so they say nothing about the type.
        if (expanded and not wants_text) or (node.plain and not expanded):
            value = yaml12.resolve(text)
        if value is None:
            return None
        result = _convert(value, shape)
        if isinstance(result, _Bad):
            shown = "a value" if expanded else _describe(value, shape)
            return self.report(node.place, path, f"expected {_expectation(shape)}, got {shown}")
        if isinstance(result, _Fault):
            return self.report(node.place, path, result.text)
        return result


class _Fault(msgspec.Struct, frozen=True):
    """A conversion that says itself what is wrong."""

    text: str


def _convert(value: object, shape: _Shape) -> object:
    meta = shape.meta
    if shape.kind == "parsed":
        try:
            return _PARSED[shape.type](value)
        except ValueError as error:
            return _Fault(str(error))
    if shape.kind == "choice":
        if value in shape.inner:
            return value
        hint = did_you_mean(value, shape.inner) if isinstance(value, str) else ""
        return _Fault(f"expected {_expectation(shape)}{hint}")
    if shape.kind == "flag":
        return value if isinstance(value, bool) else BAD
    if shape.kind == "integer":
        if not isinstance(value, int) or isinstance(value, bool):
            return BAD
        low, high = (meta.ge, meta.le) if meta else (None, None)
        return BAD if (low is not None and value < low) or (high is not None and value > high) else value
    if shape.kind == "text":
        return _text(value, meta)
    return BAD


def _text(value: object, meta: Meta | None) -> object:
    if isinstance(value, bool | int | Decimal):
        return _Fault(f"expected text, got {_kind(value)}; put it in quotes")
    if not isinstance(value, str):
        return BAD
    if meta is None:
        return value
    if meta.min_length and len(value) < meta.min_length:
        return _Fault("must not be empty")
    if meta.max_length and len(value) > meta.max_length:
        return _Fault(f"longer than {meta.max_length} characters")
    if meta.pattern and not re.search(meta.pattern, value):
        return _Fault(f"must match {meta.pattern}")
    return value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    return "a number" if isinstance(value, int | Decimal) else "text"


def _describe(value: object, shape: _Shape) -> str:
    if shape.type is Secret:
        return _kind(value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = str(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:60]}…`"


def _one_of(choices: tuple[str, ...]) -> str:
    return "; one of " + ", ".join(f"`{choice}`" for choice in choices)


def _expectation(shape: _Shape) -> str:
    if shape.kind == "choice":
        return "one of " + ", ".join(f"`{choice}`" for choice in shape.inner)
    if shape.kind == "integer" and shape.meta and shape.meta.ge is not None and shape.meta.le is not None:
        return f"a whole number from {shape.meta.ge} to {shape.meta.le}"
    return {
        "struct": "a mapping",
        "map": "a mapping",
        "list": "a list",
        "text": "text",
        "integer": "a whole number",
        "flag": "`true` or `false`",
        "parsed": "a single value",
        "tree": "a mapping, or JSON",
    }[shape.kind]


@cache
def _fields(cls: type[Strict]) -> dict[str, tuple[Any, bool]]:
    """Name → (type, required)."""
    return {
        field.name: (field.type, field.default is NODEFAULT and field.default_factory is NODEFAULT)
        for field in msgspec.structs.fields(cls)
    }


@cache
def _shape(want: Any) -> _Shape:
    origin, arguments = get_origin(want), get_args(want)
    if origin is Annotated:
        return msgspec.structs.replace(_shape(arguments[0]), meta=arguments[1])
    if origin in {Union, UnionType}:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return msgspec.structs.replace(_shape(inner), nullable=True)
    if origin is Literal:
        return _Shape(kind="choice", inner=arguments)
    if origin is tuple:
        return _Shape(kind="list", inner=arguments[0])
    if origin is dict:
        return _Shape(kind="map", key=arguments[0], inner=arguments[1])
    if want in _PARSED:
        return _Shape(kind="parsed", type=want)
    if isinstance(want, type) and issubclass(want, Strict):
        return _Shape(kind="struct", type=want)
    if want is Tree:
        return _Shape(kind="tree")
    if want is str:
        return _Shape(kind="text")
    if want is bool:
        return _Shape(kind="flag")
    if want is int:
        return _Shape(kind="integer")
    raise TypeError(f"the schema uses a type the reader does not know: {want!r}")
