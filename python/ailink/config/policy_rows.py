"""Policies as the data plane takes them: what an action says, every default filled in."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from ailink.config.policies import Action, Attach, PolicyRule, Redact
from ailink.config.secret import Secret
from ailink.config.units import PicoUsd, Tree

_PICO: Final = 10**12
_TIMES: Final = ("window", "delay", "timeout", "every", "expiry")


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """How guardrails are told: those of the configuration by name, those that a policy brings."""

    named: Callable[[str], int]
    found: Callable[[PolicyRule, Redact], list[int]]


def then_json(rule: PolicyRule, numbers: Numbers, *, trusted: bool) -> str:
    """The actions as JSON. `trusted`: their URLs may be private addresses."""
    return json.dumps([_action(rule, action, numbers, trusted) for action in rule.then])


def _action(rule: PolicyRule, action: Action, numbers: Numbers, trusted: bool) -> dict[str, Any]:
    ((name, given),) = chosen(action)
    if name == "transform":
        return {name: {"ops": [_op(op) for op in given]}}
    told: dict[str, Any] = {key: _plain(getattr(given, key)) for key in given.__struct_fields__}
    for key in _TIMES:
        if key in told:
            told[f"{key}_ms"] = told.pop(key)
    match name:
        case "redact":
            told = {"guardrails": numbers.found(rule, given), "fields": list(given.fields)}
        case "guardrail":
            told = {"guardrails": [numbers.named(one) for one in given.guardrails]}
        case "validate_schema":
            told["not"] = told.pop("negate")
        case "webhook" | "alert":
            told["guarded"] = not trusted
    return {name: told}


def chosen(given: Any) -> list[tuple[str, Any]]:
    """What an action, or a change, says: it should be one thing."""
    return [(name, value) for name in given.__struct_fields__ if (value := getattr(given, name)) is not None]


def targets(attach: Attach) -> Iterable[tuple[str, str]]:
    """Kind and id of everything a policy is attached to."""
    if attach.everything:
        yield "default", ""
    for kind in ("organization", "team", "project", "user", "key", "model", "route"):
        for name in getattr(attach, f"{kind}s"):
            yield kind, name


def _op(op: Any) -> dict[str, Any]:
    ((name, given),) = chosen(op)
    if not isinstance(given, str):
        return {"op": name, **{key: _plain(getattr(given, key)) for key in given.__struct_fields__}}
    if name.endswith("prompt"):
        return {"op": name, "text": given}
    return {"op": name, "name" if name.endswith("header") else "field": given}


def _plain(value: Any) -> Any:
    if isinstance(value, Tree):
        return _tree(value)
    if isinstance(value, PicoUsd):
        return int(value) / _PICO
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        return {key: _plain(getattr(value, key)) for key in value.__struct_fields__}
    return value


def _tree(text: str) -> Any:
    """JSON; what is none is text that was not put in quotes twice."""
    try:
        return json.loads(text)
    except ValueError:
        return text
