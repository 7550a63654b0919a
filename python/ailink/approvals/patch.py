"""JSON Patch (RFC 6902): applied, and made of two values."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

MOST = 1_000


class PatchError(ValueError):
    """A patch that does not fit; says which operation and why."""


def applied(value: Any, patch: Sequence[Mapping[str, Any]]) -> Any:
    """A new value; the old one stays. Raises `PatchError`."""
    if len(patch) > MOST:
        raise PatchError(f"more than {MOST} operations")
    now = copy.deepcopy(value)
    for number, operation in enumerate(patch):
        try:
            now = _one(now, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            text = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise PatchError(f"operation {number}: {text}") from error
    return now


def _one(value: Any, operation: Mapping[str, Any]) -> Any:
    kind = operation.get("op")
    allowed = {
        "add": {"value"},
        "replace": {"value"},
        "test": {"value"},
        "remove": set(),
        "move": {"from"},
        "copy": {"from"},
    }
    if kind not in allowed:
        raise ValueError(f"`op` is none of {', '.join(allowed)}")
    given = set(operation) - {"op", "path"}
    if given != allowed[kind]:
        raise ValueError(f"`{kind}` takes `path`{''.join(f' and `{name}`' for name in allowed[kind])}")
    path = _steps(operation.get("path"))
    if kind == "test":
        if not _same(_at(value, path), operation["value"]):
            raise ValueError(f"the value at `{operation['path']}` is another one")
        return value
    if kind == "remove":
        return _remove(value, path)
    if kind == "replace":
        _at(value, path)
        return _add(_remove(value, path) if path else value, path, copy.deepcopy(operation["value"]))
    if kind == "add":
        return _add(value, path, copy.deepcopy(operation["value"]))
    origin = _steps(operation["from"])
    moved = copy.deepcopy(_at(value, origin))
    if kind == "move":
        if path[: len(origin)] == origin and path != origin:
            raise ValueError("a value cannot be moved into itself")
        value = _remove(value, origin)
    return _add(value, path, moved)


def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise ValueError("a path is empty or begins with `/`")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(items: list[Any], step: str, *, end: bool) -> int:
    if end and step == "-":
        return len(items)
    if not step.isascii() or not step.isdecimal() or (step[0] == "0" and step != "0"):
        raise ValueError(f"`{step}` is no place in a list")
    index = int(step)
    if index >= len(items) + end:
        raise ValueError(f"the list has no place {step}")
    return index


def _at(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        if isinstance(value, list):
            value = value[_index(value, step, end=False)]
        elif isinstance(value, dict):
            value = value[step]
        else:
            raise ValueError(f"nothing lies below `{step}`")
    return value


def _add(value: Any, path: Sequence[str], new: Any) -> Any:
    if not path:
        return new
    holder = _at(value, path[:-1])
    if isinstance(holder, list):
        holder.insert(_index(holder, path[-1], end=True), new)
    elif isinstance(holder, dict):
        holder[path[-1]] = new
    else:
        raise ValueError("only objects and lists have members")
    return value


def _remove(value: Any, path: Sequence[str]) -> Any:
    if not path:
        raise ValueError("the whole cannot be removed")
    holder = _at(value, path[:-1])
    if isinstance(holder, list):
        del holder[_index(holder, path[-1], end=False)]
    elif isinstance(holder, dict):
        del holder[path[-1]]
    else:
        raise ValueError("only objects and lists have members")
    return value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def difference(before: Any, after: Any, path: str = "") -> list[dict[str, Any]]:
    """A patch from one value to the other; what is in lists is compared place by place."""
    if _same(before, after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[dict[str, Any]] = []
        for key in before:
            place = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            found += (
                difference(before[key], after[key], place)
                if key in after
                else [{"op": "remove", "path": place}]
            )
        new = [key for key in after if key not in before]
        return found + [
            {"op": "add", "path": f"{path}/{key.replace('~', '~0').replace('/', '~1')}", "value": after[key]}
            for key in new
        ]
    if isinstance(before, list) and isinstance(after, list):
        shared = min(len(before), len(after))
        found = [
            operation
            for place in range(shared)
            for operation in difference(before[place], after[place], f"{path}/{place}")
        ]
        found += [
            {"op": "remove", "path": f"{path}/{place}"} for place in range(len(before) - 1, shared - 1, -1)
        ]
        return found + [{"op": "add", "path": f"{path}/-", "value": value} for value in after[shared:]]
    return [{"op": "replace", "path": path, "value": after}]
