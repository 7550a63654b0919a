"""Requests that schemathesis makes of the API's own description, the same ones in every run.

Random names hit nothing, so wherever a field names an object, most requests name one that exists: the
caller's own, somebody else's or nobody's.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

# Fields that name an object, and what they name.
NAMING = {
    "organization_id": "ORG", "organization_ids": "ORG", "organizations": "ORG", "org_id": "ORG",
    "team_id": "TEAM", "team_ids": "TEAM", "teams": "TEAM", "parent_team_id": "TEAM",
    "project_id": "PROJECT", "project_ids": "PROJECT", "key": "KEY", "keys": "KEY", "api_key": "KEY",
    "key_alias": "ALIAS", "key_aliases": "ALIAS", "budget_id": "BUDGET", "budgets": "BUDGET", "id": "BUDGET",
    "role_id": "ROLE_ID", "key_id": "KEY_ID", "access_group": "GROUP", "access_group_id": "GROUP_ID",
    "user_id": "USER", "user_ids": "USER", "end_user_id": "CUSTOMER", "names": "TAG", "name": "TAG",
}  # fmt: skip
# Paths on which a field names something else than elsewhere.
CUSTOMERS = ("/customer/", "/end_user/")
FILLED = 0.8

Objects = Sequence[Mapping[str, str]]


class Sent(NamedTuple):
    """One request, to be sent as whoever."""

    method: str
    path: str
    """As the description has it."""
    valid: bool
    case: Any

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def requests_of(
    document: dict[str, Any], objects: Objects, *, valid: int, invalid: int, seed: int
) -> Iterator[Sent]:
    """For each operation `valid` requests that the description allows, and `invalid` ones it does not."""
    described = schemathesis.openapi.from_dict(document)
    for found in described.get_all_operations():
        operation = found.ok()
        for mode, count in ((GenerationMode.POSITIVE, valid), (GenerationMode.NEGATIVE, invalid)):
            if mode is GenerationMode.NEGATIVE and not _may_be_wrong(operation):
                continue
            rng = random.Random(f"{seed} {operation.label} {mode}")
            for case in _generated(operation, mode, count, seed):
                if rng.random() < FILLED:
                    _fill(case, rng.choice(objects), operation.path)
                yield Sent(operation.method.upper(), operation.path, mode is GenerationMode.POSITIVE, case)


def _may_be_wrong(operation: Any) -> bool:
    return bool(operation.body or operation.query or operation.path_parameters)


def _generated(operation: Any, mode: GenerationMode, count: int, seed: int) -> list[Any]:
    made: list[Any] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        made.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # There may be nothing wrong to say: a path alone, say.
        with contextlib.suppress(Unsatisfiable):
            collect()
    return made[:count]


def _fill(case: Any, objects: Mapping[str, str], path: str) -> None:
    case.path_parameters = _named(case.path_parameters, objects, path)
    case.query = _named(case.query, objects, path)
    if isinstance(case.body, dict):
        case.body = _named(case.body, objects, path)


def _named(value: Any, objects: Mapping[str, str], path: str, naming: str | None = None) -> Any:
    if isinstance(value, dict):
        return {name: _named(part, objects, path, name) for name, part in value.items()}
    kind = NAMING.get(naming or "")
    if kind == "USER" and path.startswith(CUSTOMERS):
        kind = "CUSTOMER"
    if isinstance(value, list):
        return [_named(part, objects, path, naming) for part in value[:5]]
    return objects[kind] if isinstance(value, str) and kind in objects else value
