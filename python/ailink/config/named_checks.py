"""Checks of a guardrail as the data plane takes them: built-in ones as they are, services by their rows."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ailink import _core
from ailink.config import check_identities, python_checks
from ailink.config.guardrails import Guardrail
from ailink.config.problems import Path
from ailink.guard import vendors

_PLACE = re.compile(r'^guardrail "[^"]*": (?:checks\[(\d+)\]\.)?([^:]*): (.*)$', re.DOTALL)


class CheckError(ValueError):
    """What is wrong with a check. `place`: its number in the list."""

    def __init__(self, place: int, text: str) -> None:
        self.place = place
        super().__init__(text)


def compiled(rule: Guardrail, plugin_socket: str = "plug.sock") -> str | None:
    """JSON of the checks; None without any. `plugin_socket`: where those in Python are. Raises CheckError."""
    if not rule.checks:
        return None
    return json.dumps(
        {
            "checks": [
                _check(rule.name, place, str(tree), plugin_socket) for place, tree in enumerate(rule.checks)
            ],
            "scope": rule.messages,
            "run": rule.run,
            "sequential": rule.sequential,
            "on_success": _tree(rule.on_success),
            "on_fail": _tree(rule.on_fail),
        }
    )


def faults(rule: Guardrail) -> Iterator[tuple[Path, str]]:
    """Where in the guardrail, and what."""
    try:
        told = compiled(rule)
    except CheckError as error:
        yield ("checks", error.place), str(error)
        return
    if told is None:
        return
    if rule.run == "during" and "output" in rule.scan:
        yield ("run",), "`during` is for requests: an answer is there when it can be looked at"
    fault = _core.guard_fault(rule.name, told)
    if fault is not None:
        found = _PLACE.match(fault)
        place, text = (found[1], f"{found[2]}: {found[3]}") if found else (None, fault)
        yield ("checks",) if place is None else ("checks", int(place)), text


def _tree(tree: str | None) -> Any:
    return None if tree is None else json.loads(tree)


def _check(rule: str, place: int, tree: str, plugin_socket: str) -> dict[str, Any]:
    name, parameters, enabled = _named(place, tree)
    told: dict[str, Any] = {"id": name, "parameters": parameters}
    row = vendors.find(name)
    try:
        if row is not None:
            slot = check_identities.slot_of(rule, place)
            told = {"id": "remote", "parameters": row.call(parameters, slot), "name": name}
            if parameters.get(vendors.IDENTITY) is not None:
                check_identities.read(row, parameters[vendors.IDENTITY])
        elif name == python_checks.NAME:
            url = f"unix:{plugin_socket}:/guardrails/{rule}/{place}"
            told = {"id": "remote", "parameters": python_checks.parse(parameters).call(url), "name": name}
        elif name == "remote":
            raise CheckError(place, "no check `remote`")
    except vendors.ParameterError as error:
        raise CheckError(place, f"{name}: {error}") from None
    return {**told, "is_enabled": enabled}


def _named(place: int, tree: str) -> tuple[str, dict[str, Any], Any]:
    """Name, parameters, and whether it is made at all."""
    try:
        given = json.loads(tree)
    except ValueError:
        # A name alone.
        given = {tree: {}}
    if isinstance(given, str):
        given = {given: {}}
    if not isinstance(given, dict) or not given:
        raise CheckError(place, "expected `{NAME: parameters}`")
    if "id" in given:
        name, parameters = given["id"], given.get("parameters") or {}
        odd = [key for key in given if key not in {"id", "parameters", "is_enabled"}]
        if odd:
            raise CheckError(place, f"unknown key `{odd[0]}`")
    elif len(given) == 1:
        ((name, parameters),) = given.items()
        parameters = {} if parameters is None else parameters
    else:
        raise CheckError(place, "expected `{NAME: parameters}`, one check in each item")
    if not isinstance(parameters, dict):
        raise CheckError(place, f"{name}: expected a mapping of parameters")
    return str(name), parameters, given.get("is_enabled", True)
