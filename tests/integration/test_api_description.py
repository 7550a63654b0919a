"""`/openapi.json` against the process that it describes: schemathesis asks as every role."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider
from tests.harness.schema_cases import Sent, requests_of
from tests.harness.size import FULL
from tests.harness.tenants import tenants_config

from ailink.identity.roles import ORGANIZATION_ROLES, OWN, OWN_READ, PLATFORM_ROLES, READ_ONLY_ROLES
from ailink.shell.route import Route
from ailink.shell.table import ROUTES

SEED = 20_261_122
CHECKS = (not_a_server_error, status_code_conformance, response_schema_conformance)
# Who asks in a run of every day: nobody, and who may do least and most. With AILINK_FULL=1 all roles do; that
# each is let in where it should be is `tests/unit/shell/test_authorization.py`.
USUAL = ("nobody", "key", "organization:viewer", "organization:owner", "platform:owner")
# In what is foreign, and never in a request.
MARK = "zq7unseen"
TABLE: dict[str, Route] = {f"{route.method} {route.path}": route for route in ROUTES}


class Asker(NamedTuple):
    """`permissions`: all that he holds anywhere; None: he has no key."""

    name: str
    secret: str
    permissions: frozenset[str] | None
    platform: bool
    is_admin: bool = False

    def may(self, sent: Sent) -> bool:
        """Whether the declaration lets him in."""
        route = TABLE.get(sent.name)
        if route is None or route.policy.kind in ("public", "metrics"):
            return self.permissions is not None or sent.path.startswith("/health") or route is not None
        if self.permissions is None:
            return False
        if self.is_admin or route.policy.kind == "key":
            return True
        return route.policy.kind == "permission" and route.policy.permission in self.permissions


class World(NamedTuple):
    gateway: Gateway
    askers: list[Asker]
    objects: list[dict[str, str]]
    cases: list[Sent]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("described")
    with MockProvider(directory / "provider") as provider:
        config = {**tenants_config(provider), "cache": {"enabled": True}}
        with Gateway(directory / "gateway", config) as gateway:
            own, foreign = (_objects(gateway, side) for side in ("own", "foreign"))
            missing = {name: value.replace("foreign", "missing") for name, value in foreign.items()}
            document = gateway.http.get("/openapi.json").json()
            cases = list(requests_of(document, [own, own, foreign, missing], valid=2, invalid=1, seed=SEED))
            askers = [asker for asker in _askers(gateway) if FULL or asker.name in USUAL]
            yield World(gateway, askers, [own, foreign], cases)


def _objects(gateway: Gateway, side: str) -> dict[str, str]:
    """One of everything in an organization of its own."""
    told = MARK if side == "foreign" else "told"
    org, team, user = f"org_{side}", f"team_{side}", f"user_{side}"
    secret = {"metadata": {"note": told}}
    gateway.call("/organization/new", {"organization_id": org, "organization_alias": told, **secret})
    gateway.call("/team/new", {"team_id": team, "organization_id": org, "team_alias": told, **secret})
    gateway.call(
        "/user/new",
        {"user_id": user, "organizations": [org], "user_alias": told, "auto_create_key": False, **secret},
    )
    gateway.call("/team/member_add", {"team_id": team, "member": {"role": "user", "user_id": user}})
    gateway.call(
        "/project/new", {"project_id": f"project_{side}", "team_id": team, "description": told, **secret}
    )
    gateway.call("/customer/new", {"user_id": f"customer_{side}", "organization_id": org, "alias": told})
    gateway.call("/tag/new", {"name": f"tag_{side}", "organization_id": org, "description": told})
    gateway.call("/budget/new", {"budget_id": f"budget_{side}", "organization_id": org, "max_budget": 5})
    group = {"access_group_name": f"group_{side}", "organization_id": org, "description": told}
    group_id = gateway.call("/v1/access_group", group)["access_group_id"]
    role = {"name": f"role_{side}", "permissions": ["teams.read"], "organization_id": org}
    role_id = gateway.call("/role/new", role)["id"]
    made = gateway.call("/key/generate", {"team_id": team, "key_alias": f"alias_{side}", **secret})
    return {
        "ORG": org, "TEAM": team, "USER": user, "PROJECT": f"project_{side}", "CUSTOMER": f"customer_{side}",
        "TAG": f"tag_{side}", "BUDGET": f"budget_{side}", "GROUP": f"group_{side}", "GROUP_ID": group_id,
        "ROLE_ID": role_id, "KEY": made["token"], "KEY_ID": made["key_id"], "ALIAS": f"alias_{side}",
    }  # fmt: skip


def _askers(gateway: Gateway) -> Iterator[Asker]:
    """From those who may do least to those who may do most."""
    yield Asker("nobody", "", None, platform=False)
    yield Asker("key", gateway.mint().secret, frozenset(), platform=False)
    for role, held in sorted(ORGANIZATION_ROLES.items(), key=lambda item: len(item[1])):
        user = f"caller_organization_{role}"
        gateway.call("/user/new", {"user_id": user, "user_role": "internal_user", "auto_create_key": False})
        member = {"role": role, "user_id": user}
        gateway.call("/organization/member_add", {"organization_id": "org_own", "member": member})
        secret = gateway.call("/key/generate", {"user_id": user})["key"]
        yield Asker(f"organization:{role}", secret, held | OWN, platform=False)
    for role, held in sorted(PLATFORM_ROLES.items(), key=lambda item: len(item[1])):
        made = gateway.call("/user/new", {"user_id": f"caller_platform_{role}", "user_role": role})
        own = OWN_READ if role in READ_ONLY_ROLES else OWN
        all_of_it = held == PLATFORM_ROLES["owner"]
        yield Asker(f"platform:{role}", made["key"], held | own, platform=True, is_admin=all_of_it)


@pytest.mark.slow
def test_every_role_against_the_description(world: World) -> None:
    faults: list[str] = []
    before = _foreign(world)
    for asker in world.askers:
        faults += _asked(world, asker)
        if not asker.platform and _foreign(world) != before:
            faults.append(f"{asker.name} changed what is foreign")
            before = _foreign(world)
    assert faults == []
    assert world.gateway.http.get("/health/ready").status_code == 200


def _asked(world: World, asker: Asker) -> list[str]:
    faults = []
    headers = {"authorization": f"Bearer {asker.secret}"} if asker.secret else {}
    with requests.Session() as session:
        refused: set[str] = set()
        for sent in world.cases:
            if sent.name in refused:
                continue
            response = sent.case.call(
                base_url=world.gateway.url, session=session, headers=headers, timeout=20
            )
            place = f"{asker.name}: {sent.name}"
            if response.status_code in (401, 403) and not asker.may(sent):
                # It does not depend on what is asked for: once is enough.
                refused.add(sent.name)
            faults += [f"{place}: {fault}" for fault in _faults(sent, response)]
            if (hole := _hole(asker, sent, response)) is not None:
                faults.append(f"{place}: {hole}: {response.status_code} {response.text[:300]}")
    return faults


def _faults(sent: Sent, response: Any) -> list[str]:
    """What the answer is that the description does not say."""
    try:
        sent.case.validate_response(response, checks=CHECKS)
    except (Failure, FailureGroup) as error:
        failures = error.exceptions if isinstance(error, FailureGroup) else [error]
        return [f"{failure} ← {sent.case.as_curl_command()}" for failure in failures]
    return []


def _hole(asker: Asker, sent: Sent, response: Any) -> str | None:
    """Why he should not have got this answer."""
    if not asker.platform and MARK in response.text:
        return "shows what is foreign"
    if response.status_code < 300 and not asker.may(sent):
        return "is let in"
    return None


def _foreign(world: World) -> dict[str, list[Any]]:
    """All rows of the other organization, by table."""
    with contextlib.closing(sqlite3.connect(world.gateway.data / "ailink.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for table in sorted(set(tables) - {"audit", "idempotency"}):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if "org_id" in columns:
                found[table] = database.execute(
                    f"SELECT * FROM {table} WHERE org_id = 'org_foreign' ORDER BY 1"
                ).fetchall()
        return found
