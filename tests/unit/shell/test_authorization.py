"""Who may call what: every route of the table, every role, objects of one's own, of others and of nobody;
from the declarations.
"""

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.unit.admin.gateway import Gateway
from tests.unit.shell import world
from tests.unit.shell.conftest import ADMIN, as_key, mint
from tests.unit.shell.world import FOREIGN, MISSING, OWN, PLACES, REQUESTS

from ailink.admin.key_access import may_call
from ailink.identity.actor import Actor, actor_of_key
from ailink.shell.policy import Policy
from ailink.shell.route import Route
from ailink.shell.table import ROUTES
from ailink.store import keys

CALLERS = ["nobody", "key", "scraper", "limited", "admin"]
# What each caller is told; a handler's own 4xx for an empty request counts as let in.
EXPECTED = {
    "public": {"nobody": None, "key": None, "scraper": None, "limited": None, "admin": None},
    "key": {"nobody": 401, "key": None, "scraper": 403, "limited": 403, "admin": None},
    "permission": {"nobody": 401, "key": 403, "scraper": 403, "limited": 403, "admin": None},
    "admin": {"nobody": 401, "key": 403, "scraper": 403, "limited": 403, "admin": None},
    "metrics": {"nobody": 401, "key": 403, "scraper": None, "limited": 403, "admin": None},
}
GUARDED = [route for route in ROUTES if route.policy.kind == "permission"]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_keys_without_a_role(route: Route, asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    headers = {
        "nobody": {"x-ailink-role": "none"},
        "key": (await mint(gateway))[1],
        "scraper": (await mint(gateway, allowed_routes=["/metrics"]))[1],
        "limited": (await mint(gateway, key_type="llm_api"))[1],
        "admin": ADMIN,
    }
    path = re.sub(r"\{[a-z_]+\}", "absent-0123456789", route.path)
    keys = dict(gateway.plane.keys)
    for caller in CALLERS:
        response = await asgi.request(route.method, path, headers=headers[caller])
        expected = EXPECTED[route.policy.kind][caller]
        if expected is None:
            assert response.status_code not in (401, 403), caller
            assert response.status_code < 500, caller
        else:
            assert response.status_code == expected, caller
            kind = "authentication_error" if expected == 401 else "permission_error"
            assert response.json()["error"]["type"] == kind
            assert gateway.plane.keys == keys, "a refusal changes nothing"


class Setting(NamedTuple):
    gateway: Gateway
    http: httpx.AsyncClient
    callers: dict[str, dict[str, str]]
    objects: dict[str, dict[str, str]]


@pytest.fixture
async def setting(gateway: Gateway, asgi: httpx.AsyncClient) -> AsyncIterator[Setting]:
    objects = {side: await world.one_of_everything(asgi, side) for side in (OWN, FOREIGN)}
    # As long as those that exist, so that answers can be compared.
    objects[MISSING] = {name: _missing(value) for name, value in objects[FOREIGN].items()}
    callers = await world.callers(asgi, gateway)
    async with world.nothing_kept(gateway):
        yield Setting(gateway, asgi, callers, objects)


def _missing(value: str) -> str:
    return value.replace("foreign", "missing") if "foreign" in value else value[:-8] + "00000000"


def test_every_guarded_route_is_in_the_matrix() -> None:
    assert {name_of(route) for route in GUARDED} == set(REQUESTS)


@pytest.mark.slow
async def test_matrix(setting: Setting) -> None:
    """Roles × routes × objects of one's own organization, of another and of none."""
    wrong = []
    for route in GUARDED:
        for caller in ("nobody", "key", "llm_key", *PLACES):
            wrong += [
                f"{caller}: {name_of(route)}: {fault}" for fault in await _faults(setting, route, caller)
            ]
    assert wrong == [], "\n".join(wrong)


async def _faults(setting: Setting, route: Route, caller: str) -> list[str]:
    headers = setting.callers[caller]
    answers = {side: await _ask(setting, route, headers, side) for side in (OWN, FOREIGN, MISSING)}
    statuses = {side: answer.status_code for side, answer in answers.items()}
    faults = [f"{side} → {status}" for side, status in statuses.items() if status >= 500]
    if caller == "nobody":
        return faults + [f"{statuses}"] * (set(statuses.values()) != {401})
    database, key_id = setting.gateway.services.database, headers["x-ailink-key-id"]
    record = await keys.by_id(database, key_id)
    actor = Actor(key_id=key_id) if record is None else await actor_of_key(database, record)
    permission = route.policy.permission
    record = await setting.gateway.services.keys.by_id(headers["x-ailink-key-id"])
    assert record is not None
    if not actor.holds(permission) or not may_call(record.routes, route.method, route.path):
        return faults + [f"let in: {statuses}"] * (set(statuses.values()) != {403})
    everywhere = permission in actor.platform
    if REQUESTS[name_of(route)] is None:
        text = answers[OWN].text
        return faults + ["shows what is foreign"] * ("foreign" in text and not actor.platform)
    if not actor.platform:
        if answers[FOREIGN].text != answers[MISSING].text or statuses[FOREIGN] != statuses[MISSING]:
            faults.append(f"tells foreign {answers[FOREIGN].text} from missing {answers[MISSING].text}")
        if answers[FOREIGN].is_success:
            faults.append("reaches what is foreign")
    if everywhere and not answers[FOREIGN].is_success and _conflict(answers[FOREIGN]):
        faults.append(f"the whole gateway's role is refused: {answers[FOREIGN].text}")
    reaches = actor.may(permission, org="org_own") or (
        _of_a_team(route) and actor.may(permission, team="team_own")
    )
    if reaches != answers[OWN].is_success and _conflict(answers[OWN]) and name_of(route) not in NARROWER:
        faults.append(f"reaches={reaches}, but {statuses[OWN]} {answers[OWN].text[:200]}")
    return faults


# Routes that ask for more than their permission on the object, and what that is.
NARROWER = {
    "POST /organization/new": "organizations are the operator's to make",
    "POST /team/new": "teams of an organization need the permission there",
    "POST /team/delete": "a team is deleted by those above it",
    "POST /key/{key}/reset_spend": "members' routes",
    "POST /team/{team_id}/member/{user_id}/reset_spend": "needs budgets.write",
    "POST /user/new": "needs members.write in the organization as well",
    "POST /user/delete": "nobody deletes who may do more",
    "DELETE /v1/users/{user_id}": "nobody deletes who may do more",
    "DELETE /v1/teams/{team_id}": "a team is deleted by those above it",
    "POST /v1/teams": "teams of an organization need the permission there",
    "POST /v1/users": "needs members.write in the organization as well",
    "GET /v1/users/{user_id}": "members of one's own team are seen",
    "GET /v1/users/{user_id}/spending": "the user has to be seen",
    "GET /v1/teams/{team_id}/spending": "the team has to be seen",
    "POST /organization/member_add": "nobody gives a role that may do more",
    "POST /role/new": "nobody grants what he does not hold",
    "GET /user/info": "members of one's own team are seen",
    "GET /v2/user/info": "members of one's own team are seen",
    "POST /team/member_add": "the user has to be seen",
    "POST /team/bulk_member_add": "partial results",
    "POST /team/model/add": "the models of a team are set by those above it",
    "POST /team/model/delete": "the models of a team are set by those above it",
}


def _conflict(answer: httpx.Response) -> bool:
    """Whether the answer says anything about leave: 409 and 400 come after it."""
    return answer.status_code not in (400, 409)


def _of_a_team(route: Route) -> bool:
    return any(part in route.path for part in ("/team/", "/teams/", "/project/", "/key/"))


async def _ask(setting: Setting, route: Route, headers: dict[str, str], side: str) -> httpx.Response:
    query, body = REQUESTS[name_of(route)] or ({}, MINIMAL.get(name_of(route), {}))
    path = route.path
    for captured, placeholder in world.CAPTURED.items():
        path = path.replace(captured, placeholder)
    values = setting.objects[side]
    wanted: dict[str, Any] = {"params": world.filled(query, values)}
    if route.body.__struct_fields__:
        wanted["json"] = world.filled(body, values)
    return await setting.http.request(route.method, world.filled(path, values), headers=headers, **wanted)


# Bodies of routes that name no object of a tenant.
MINIMAL: dict[str, dict[str, Any]] = {
    "POST /organization/new": {"organization_alias": "x"},
    "POST /key/bulk_update": {"keys": [{"key": "sk-absent-0123456789"}]},
    "POST /user/bulk_update": {"users": [{"user_id": "absent"}]},
    "POST /budget/info": {"budgets": ["budget_own", "budget_foreign"]},
    "POST /tag/info": {"names": ["tag_own", "tag_foreign"]},
}


async def test_a_refusal_changes_nothing(setting: Setting) -> None:
    plane = setting.gateway.plane
    before = dict(plane.keys), dict(plane.subjects)
    for route in GUARDED:
        if route.method != "GET":
            await _ask(setting, route, setting.callers["organization:viewer"], OWN)
            await _ask(setting, route, setting.callers["organization:owner"], FOREIGN)
    assert (plane.keys, plane.subjects) == before


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-ailink-role", "admin")],
        [("x-ailink-role", "admin"), ("x-ailink-key-id", "")],
        [("x-ailink-role", "Admin"), ("x-ailink-key-id", "master")],
        [("x-ailink-role", "root"), ("x-ailink-key-id", "master")],
        [("x-ailink-role", "none"), ("x-ailink-role", "admin"), ("x-ailink-key-id", "master")],
        [("x-ailink-role", "key"), ("x-ailink-key-id", "key_1"), ("x-ailink-key-id", "master")],
        [("authorization", "Bearer sk-master-0123456789abcdef")],
    ],
)
async def test_only_the_front_says_who_calls(asgi: httpx.AsyncClient, headers: list[tuple[str, str]]) -> None:
    assert (await asgi.get("/key/list", headers=headers)).status_code == 401
    assert (await asgi.get("/key/info", headers=headers)).status_code == 401


async def test_a_key_may_be_limited_to_a_path_of_the_shell(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    _, headers = await mint(gateway, allowed_routes=["/key/info"])
    assert (await asgi.get("/key/info", headers=headers)).status_code == 200
    assert (await asgi.get("/model/info", headers=headers)).status_code == 403


async def test_a_read_only_key_reads(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    made = (
        await asgi.post(
            "/user/new", json={"user_role": "proxy_admin", "key_type": "read_only"}, headers=ADMIN
        )
    ).json()
    record = await gateway.services.keys.find(made["key"])
    assert record is not None
    assert (await asgi.get("/team/list", headers=as_key(record.id))).status_code == 200
    assert (await asgi.post("/team/new", json={}, headers=as_key(record.id))).status_code == 403


def test_a_route_needs_a_permission_that_exists() -> None:
    with pytest.raises(ValueError, match="is no permission"):
        Policy("permission", "x", "teams.eat")


async def test_a_body_is_not_read_before_the_caller_may_send_it(http: httpx.AsyncClient) -> None:
    response = await http.post("/key/generate", content=b"x" * 5_000_000)
    assert response.status_code == 401
