"""Who may call what: every route of the table against every kind of caller, from the declarations."""

import httpx
import pytest
from tests.unit.admin.gateway import Gateway
from tests.unit.shell.conftest import ADMIN, mint

from ailink.admin.key_access import SHELL_ROUTES
from ailink.shell.policy import Policy
from ailink.shell.route import Route
from ailink.shell.table import ROUTES

CALLERS = ["nobody", "key", "scraper", "limited", "admin"]
# What each caller is told; a handler's own 4xx for an empty request counts as let in.
EXPECTED = {
    Policy.PUBLIC: {"nobody": None, "key": None, "scraper": None, "limited": None, "admin": None},
    Policy.KEY: {"nobody": 401, "key": None, "scraper": 403, "limited": 403, "admin": None},
    Policy.SELF_OR_ADMIN: {"nobody": 401, "key": None, "scraper": 403, "limited": 403, "admin": None},
    Policy.ADMIN: {"nobody": 401, "key": 403, "scraper": 403, "limited": 403, "admin": None},
    Policy.METRICS: {"nobody": 401, "key": 403, "scraper": None, "limited": 403, "admin": None},
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_matrix(route: Route, asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    headers = {
        "nobody": {"x-ailink-role": "none"},
        "key": (await mint(gateway))[1],
        "scraper": (await mint(gateway, allowed_routes=["/metrics"]))[1],
        "limited": (await mint(gateway, key_type="llm_api"))[1],
        "admin": ADMIN,
    }
    path = route.path.replace("{name}", "absent").replace("{key}", "sk-absent-0123456789")
    keys = dict(gateway.plane.keys)
    for caller in CALLERS:
        response = await asgi.request(route.method, path, headers=headers[caller])
        expected = EXPECTED[route.policy][caller]
        if expected is None:
            assert response.status_code not in (401, 403), caller
            assert response.status_code < 500, caller
        else:
            assert response.status_code == expected, caller
            kind = "authentication_error" if expected == 401 else "permission_error"
            assert response.json()["error"]["type"] == kind
            assert gateway.plane.keys == keys, "a refusal changes nothing"


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


def test_the_paths_a_key_may_be_limited_to_are_those_a_key_may_call() -> None:
    reachable = {Policy.KEY, Policy.SELF_OR_ADMIN, Policy.METRICS}
    assert {route.path for route in ROUTES if route.policy in reachable} == SHELL_ROUTES


async def test_a_body_is_not_read_before_the_caller_may_send_it(http: httpx.AsyncClient) -> None:
    response = await http.post("/key/generate", content=b"x" * 5_000_000)
    assert response.status_code == 401
