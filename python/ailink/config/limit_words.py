"""Single limits in the words of the file, as they come over the API: read, checked, and written again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any

import msgspec

from ailink.config import yaml12
from ailink.config.limits import Budget, Budgets, Limit, faults
from ailink.config.problems import ConfigError, render_path
from ailink.config.reader import Reader
from ailink.config.units import Duration, PicoUsd


class LimitFault(ValueError):
    """`path`: where in it."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        super().__init__(message)


def read(words: Mapping[str, Any], models: Set[str] = frozenset()) -> Limit | Budget:
    """A budget where `usd` is given, else a limit. `models`: those that `on` may name. Raises LimitFault."""
    try:
        node = yaml12.compose(json.dumps(words).encode(), "the API")
    except ConfigError as error:
        raise LimitFault("", str(error)) from error
    if not isinstance(node, yaml12.Mapping):
        raise LimitFault("", "expected a mapping")
    reader = Reader({})
    found = reader.read(node, Budget if "usd" in words else Limit, ())
    for problem in reader.problems:
        raise LimitFault(problem.path, problem.message)
    limits, budgets = ((), Budgets(rules=(found,))) if isinstance(found, Budget) else ((found,), Budgets())
    start = 2 if isinstance(found, Limit) else 3
    for path, message in faults(limits, budgets, models):
        raise LimitFault(render_path(path[start:]), message)
    assert isinstance(found, Limit | Budget)
    return found


def written(limit: Limit | Budget) -> dict[str, Any]:
    """The words that say this, without those that say nothing."""
    return {name: value for name, value in _plain(limit).items() if name != "on"}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        cls, plain = type(value), {}
        for field in msgspec.structs.fields(cls):
            own = getattr(value, field.name)
            if own != field.default:
                plain[field.name] = _plain(own)
        return plain
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, PicoUsd):
        return f"{Decimal(int(value)).scaleb(-12).normalize():f}"
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
