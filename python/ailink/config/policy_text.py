"""A policy as the API takes it: the same keys as in the file, the same words when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ailink.config import yaml12
from ailink.config.policies import PolicyRule
from ailink.config.policy_checks import rule_faults
from ailink.config.problems import ConfigError, render_path
from ailink.config.reader import Reader
from ailink.config.schema import Config


class PolicyFault(Exception):
    """A policy that cannot be used. `path`: where in it."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        super().__init__(message)


def read_policy(name: str, body: Mapping[str, Any], config: Config) -> PolicyRule:
    """The policy of this name. Raises PolicyFault with the first thing that is wrong."""
    try:
        node = yaml12.compose(json.dumps({**body, "name": name}).encode(), "policy")
    except ConfigError as error:
        raise PolicyFault("", str(error)) from error
    reader = Reader({})
    rule = None if node is None else reader.read(node, PolicyRule, ())
    for problem in reader.problems:
        raise PolicyFault(problem.path, problem.message)
    if not isinstance(rule, PolicyRule):
        raise PolicyFault("", "expected a mapping")
    for path, message in rule_faults(rule, config):
        raise PolicyFault(render_path(path), message)
    return rule
