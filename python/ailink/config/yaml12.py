"""YAML text → a tree of nodes with positions, under the rules of YAML 1.2's core schema.

Written on libyaml's events instead of PyYAML's composer, for four reasons: PyYAML resolves YAML 1.1 (`on` and
`off` are booleans, `1:30` is a number, `2026-01-01` a date), keeps the last of two equal keys in silence,
loses the text of a number (money must not pass through a float), and its composer recurses in C: 100,000
brackets end the process with a segmentation fault. One pass over the events costs about what it does.

`<<` merge keys are kept, although YAML 1.2 dropped them, because files in the field use them.
"""

import io
import re
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from ailink.config.problems import ConfigError, Place, Problem

MAX_BYTES: Final = 10 * 1024 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 500_000
"""Nodes after aliases are written out: what the reader would have to walk."""

_CORE_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset({"str", "int", "float", "bool", "null"})

_INT: Final = re.compile(r"[-+]?[0-9]{1,64}|0o[0-7]{1,64}|0x[0-9a-fA-F]{1,64}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,64}|[0-9]{1,64}(?:\.[0-9]{0,64})?)(?:[eE][-+]?[0-9]{1,5})?")
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Scalar(msgspec.Struct, frozen=True, kw_only=True):
    """A value as written. `plain`: without quotes, so that it may be a number, a boolean or null."""

    place: Place
    text: str
    plain: bool


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    items: list["Node"]


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    entries: dict[str, "Node"]
    keys: dict[str, Place]
    """Where each key stands."""


Node = Scalar | Sequence | Mapping


def resolve(text: str) -> bool | int | Decimal | str | None:
    """The value of a plain scalar under the core schema. Numbers with a fraction are Decimal, never float."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 10 if text[1:2] not in {"o", "x"} else 0)
    if _FLOAT.fullmatch(text):
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return text


def compose(data: bytes, file: str) -> Node | None:
    """The only document of `data`, or None when there is none. Raises ConfigError with one problem."""
    if len(data) > MAX_BYTES:
        raise _error(Place(file=file), f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(io.BytesIO(data))
    builder = _Builder(file)
    try:
        while (event := loader.get_event()) is not None:
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file=file, line=mark.line + 1, column=mark.column + 1) if mark else Place(file=file)
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise _error(place, f"not valid YAML: {reason}") from None
    except yaml.reader.ReaderError as error:
        before = data[: error.position].decode("utf-8", "replace")
        place = Place(file=file, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))
        raise _error(place, f"not valid YAML: {error.reason}") from None
    finally:
        loader.dispose()
    return builder.document


def _error(place: Place, message: str) -> ConfigError:
    return ConfigError([Problem(place=place, path="", message=message)])


class _Open:
    """A collection whose end has not been seen."""

    __slots__ = ("anchor", "key", "merges", "node", "weight")

    def __init__(self, node: Sequence | Mapping, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.weight = 1
        self.key: Scalar | None = None
        self.merges: list[tuple[Scalar, Node]] = []


class _Builder:
    """Puts events together; keeps its own stack, so that depth is a check and not a crash."""

    def __init__(self, file: str) -> None:
        self.document: Node | None = None
        self._file = file
        self._documents = 0
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            self._add(self._scalar(event), event.anchor, 1)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._open(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._close()
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _error(self._place(event), "a second document (`---`); a configuration is one document")

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        if mark is None:
            return Place(file=self._file)
        return Place(file=self._file, line=mark.line + 1, column=mark.column + 1)

    def _scalar(self, event: ScalarEvent) -> Scalar:
        plain = bool(event.implicit[0])
        if event.tag is not None and event.tag != "!":
            kind = event.tag.removeprefix(_CORE_TAG)
            if kind == event.tag or kind not in _SCALAR_TAGS:
                raise _error(self._place(event), f"the tag {event.tag} is not understood")
            plain = kind != "str"
        return Scalar(place=self._place(event), text=event.value, plain=plain)

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        place = self._place(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _error(place, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag not in {None, "!", f"{_CORE_TAG}map", f"{_CORE_TAG}seq"}:
            raise _error(place, f"the tag {event.tag} is not understood")
        node = (
            Mapping(place=place, entries={}, keys={})
            if isinstance(event, MappingStartEvent)
            else Sequence(place=place, items=[])
        )
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> None:
        closed = self._stack.pop()
        node = closed.node
        if isinstance(node, Mapping):
            for key, value in closed.merges:
                _merge(node, key, value)
        self._add(node, closed.anchor, closed.weight)

    def _alias(self, event: AliasEvent) -> None:
        place = self._place(event)
        if event.anchor not in self._anchors:
            raise _error(place, f"the alias *{event.anchor} has no anchor")
        target = self._anchors[event.anchor]
        if target is None:
            raise _error(place, f"the alias *{event.anchor} contains itself")
        self._add(target[0], None, target[1])

    def _add(self, node: Node, anchor: str | None, weight: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, weight)
        if not self._stack:
            self.document = node
            return
        parent = self._stack[-1]
        parent.weight += weight
        if parent.weight > MAX_NODES:
            raise _error(node.place, f"more than {MAX_NODES} values once the aliases are written out")
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            _put(parent, parent.key, node)
            parent.key = None

    @staticmethod
    def _key(node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            raise _error(node.place, "a key must be a word, not a list or a mapping")
        return node


def _put(parent: _Open, key: Scalar, value: Node) -> None:
    if not isinstance(parent.node, Mapping):
        return
    if key.plain and key.text == "<<":
        parent.merges.append((key, value))
        return
    first = parent.node.keys.get(key.text)
    if first is not None:
        raise _error(key.place, f"the key `{key.text}` stands twice; first on line {first.line}")
    parent.node.entries[key.text] = value
    parent.node.keys[key.text] = key.place


def _merge(node: Mapping, key: Scalar, value: Node) -> None:
    """`<<: *base` and `<<: [*a, *b]`: keys that the mapping has itself, or got earlier, win."""
    for source in value.items if isinstance(value, Sequence) else [value]:
        if not isinstance(source, Mapping):
            raise _error(key.place, "`<<` takes a mapping or a list of mappings")
        for name, entry in source.entries.items():
            if name not in node.entries:
                node.entries[name] = entry
                node.keys[name] = source.keys[name]
