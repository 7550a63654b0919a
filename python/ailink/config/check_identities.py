"""`identity` among the parameters of a check: who the gateway is at the cloud that is asked."""

import json
from collections.abc import Iterable
from typing import Any

from ailink.config import yaml12
from ailink.config.guardrails import Guardrail
from ailink.config.identity import Identity, identity_fault
from ailink.config.reader import Reader
from ailink.guard.vendors import IDENTITY, ParameterError, Vendor, find


def slot_of(guardrail: str, place: int) -> str:
    """Where the token of a check's identity is kept."""
    return f"guardrail:{guardrail}:{place}"


def read(row: Vendor, given: Any) -> Identity:
    """Raises ParameterError."""
    reader = Reader({})
    node = yaml12.compose(json.dumps(given).encode(), IDENTITY)
    identity = reader.read(node, Identity, ()) if node is not None else None
    for problem in reader.problems:
        raise ParameterError(f"`{IDENTITY}`: {problem.message}")
    if not isinstance(identity, Identity):
        raise ParameterError(f"`{IDENTITY}`: expected a mapping")
    if row.identity is None or getattr(identity, row.identity) is None:
        raise ParameterError(f"`{IDENTITY}`: this service takes identities of `{row.identity}`")
    fault = identity_fault(identity)
    if fault is not None:
        raise ParameterError(f"`{'.'.join(filter(None, (IDENTITY, fault[0])))}`: {fault[1]}")
    return identity


def identities(rules: Iterable[Guardrail]) -> dict[str, Identity]:
    """Those of checks, by their slots. What cannot be read is left out: that is told elsewhere."""
    found = {}
    for rule in rules:
        for place, tree in enumerate(rule.checks):
            told = _identity(str(tree))
            if told is not None:
                found[slot_of(rule.name, place)] = told
    return found


def _identity(tree: str) -> Identity | None:
    try:
        told = json.loads(tree)
        if not isinstance(told, dict):
            return None
        name, given = (told["id"], told.get("parameters")) if "id" in told else next(iter(told.items()))
        row = find(str(name))
        if row is None or not isinstance(given, dict) or given.get(IDENTITY) is None:
            return None
        return read(row, given[IDENTITY])
    except (ValueError, StopIteration):
        return None
