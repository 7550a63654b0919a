"""Files of policies by themselves: one policy, a list of them, or what stands under `policies:`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ailink.config import yaml12
from ailink.config.loader import locate
from ailink.config.policies import PolicyRule
from ailink.config.policy_checks import rule_faults
from ailink.config.problems import ConfigError, Place, Problem, render_path
from ailink.config.problems import Path as Steps
from ailink.config.reader import Reader
from ailink.config.schema import Config
from ailink.config.units import Tree


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of a file: as it is understood, and as the API takes it."""

    rule: PolicyRule
    body: dict[str, Any]


def read_policies(file: Path, data: bytes, config: Config | None) -> list[PolicyText]:
    """What stands there. With `config` it is checked against what that has.

    Raises ConfigError with every problem and its line.
    """
    root = yaml12.compose(data, str(file))
    found: list[PolicyText] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for path, node in _items(root, Place(file=str(file))):
        reader = Reader({})
        rule = reader.read(node, PolicyRule, path)
        problems += reader.problems
        if reader.problems or not isinstance(rule, PolicyRule):
            continue
        faults: list[tuple[Steps, str]] = [] if config is None else list(rule_faults(rule, config))
        if rule.name in names:
            faults.append((("name",), f"there are two policies named `{rule.name}`"))
        names.add(rule.name)
        problems += [
            Problem(place=locate(node, steps, node.place), path=render_path((*path, *steps)), message=message)
            for steps, message in faults
        ]
        body = reader.read(node, Tree, path)
        found.append(PolicyText(rule=rule, body=msgspec.json.decode(str(body))))
    if problems:
        raise ConfigError(problems)
    return found


def _items(root: yaml12.Node | None, place: Place) -> list[tuple[Steps, yaml12.Node]]:
    if isinstance(root, yaml12.Mapping) and "policies" not in root.entries:
        return [((), root)]
    path: Steps = ()
    if isinstance(root, yaml12.Mapping):
        root, path = root.entries["policies"], ("policies",)
    if not isinstance(root, yaml12.Sequence) or not root.items:
        message = "expected a policy, a list of policies, or a mapping with `policies`"
        raise ConfigError(
            [Problem(place=place if root is None else root.place, path=render_path(path), message=message)]
        )
    return [((*path, index), item) for index, item in enumerate(root.items)]
