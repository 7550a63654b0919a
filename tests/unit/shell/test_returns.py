"""Deletes taken back: nothing comes back less narrowly held than it was."""

from typing import Any

import httpx
import pytest
from tests.unit.admin.gateway import Gateway
from tests.unit.shell.conftest import ADMIN


async def call(
    http: httpx.AsyncClient, path: str, body: Any = None, status: int = 200, method: str = "POST"
) -> Any:
    answer = await http.request(method, path, json=body or {}, headers=ADMIN)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_key_waits_for_its_budget(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    await call(asgi, "/budget/new", {"budget_id": "b", "max_budget": 1})
    key = await call(asgi, "/key/generate", {"budget_id": "b"})
    await call(asgi, "/key/delete", {"keys": [key["key"]]})
    await call(asgi, "/budget/delete", {"id": "b"})
    refused = await call(asgi, f"/v1/auth/key/{key['key_id']}/restore", status=409)
    assert refused["error"]["message"] == "budget b is gone: restore that first"
    assert gateway.plane.keys == {}, "nothing half-applied"
    await call(asgi, "/budget/restore", {"id": "b"})
    await call(asgi, f"/v1/auth/key/{key['key_id']}/restore")


@pytest.mark.parametrize(
    ("noun", "made", "deleted", "restored"),
    [
        ("team", {"team_id": "x"}, {"team_ids": ["x"]}, "/team/x/restore"),
        ("user", {"user_id": "x", "auto_create_key": False}, {"user_ids": ["x"]}, "/user/x/restore"),
        ("customer", {"user_id": "x"}, {"user_ids": ["x"]}, "/customer/restore"),
        ("tag", {"name": "x"}, {"name": "x"}, "/tag/restore"),
    ],
    ids=["team", "user", "customer", "tag"],
)
async def test_a_holder_waits_for_its_budget(
    asgi: httpx.AsyncClient, noun: str, made: dict[str, Any], deleted: dict[str, Any], restored: str
) -> None:
    await call(asgi, "/budget/new", {"budget_id": "b", "max_budget": 1})
    await call(asgi, f"/{noun}/new", {**made, "budget_id": "b"})
    await call(asgi, f"/{noun}/delete", deleted)
    await call(asgi, "/budget/delete", {"id": "b"})
    body = {"id": "x"} if noun in ("customer", "tag") else {}
    assert (await call(asgi, restored, body, 409))["error"]["code"] == "holder_deleted"
    await call(asgi, "/budget/restore", {"id": "b"})
    await call(asgi, restored, body)


async def test_a_project_waits_for_its_budget(asgi: httpx.AsyncClient) -> None:
    await call(asgi, "/budget/new", {"budget_id": "b", "max_budget": 1})
    await call(asgi, "/team/new", {"team_id": "t"})
    await call(asgi, "/project/new", {"project_id": "p", "team_id": "t", "budget_id": "b"})
    await call(asgi, "/project/delete", {"project_ids": ["p"]}, method="DELETE")
    await call(asgi, "/budget/delete", {"id": "b"})
    await call(asgi, "/project/restore", {"id": "p"}, 409)


async def test_a_team_waits_for_the_team_above(asgi: httpx.AsyncClient) -> None:
    await call(asgi, "/team/new", {"team_id": "above", "max_budget": 1})
    await call(asgi, "/team/new", {"team_id": "below", "parent_team_id": "above"})
    await call(asgi, "/team/delete", {"team_ids": ["below"]})
    await call(asgi, "/team/delete", {"team_ids": ["above"]})
    refused = await call(asgi, "/team/below/restore", status=409)
    assert refused["error"]["message"] == "team above is gone: restore that first"
    await call(asgi, "/team/above/restore")
    assert (await call(asgi, "/team/below/restore"))["parent_team_id"] == "above"


async def test_the_key_of_a_deleted_user_stays_with_him(asgi: httpx.AsyncClient) -> None:
    await call(asgi, "/user/new", {"user_id": "u", "max_budget": 1, "auto_create_key": False})
    key = await call(asgi, "/key/generate", {"user_id": "u"})
    await call(asgi, "/user/delete", {"user_ids": ["u"]})
    refused = await call(asgi, f"/v1/auth/key/{key['key_id']}/restore", status=409)
    assert refused["error"]["message"] == "user u is gone: restore that first"
    await call(asgi, "/user/u/restore")


async def test_a_team_comes_back_without_those_who_are_gone(asgi: httpx.AsyncClient) -> None:
    await call(asgi, "/team/new", {"team_id": "t"})
    for user in ("stays", "goes"):
        await call(asgi, "/user/new", {"user_id": user, "auto_create_key": False})
        await call(asgi, "/team/member_add", {"team_id": "t", "member": {"user_id": user, "role": "user"}})
    key = await call(asgi, "/key/generate", {"team_id": "t", "user_id": "goes"})
    await call(asgi, "/team/delete", {"team_ids": ["t"]})
    await call(asgi, "/user/delete", {"user_ids": ["goes"]})
    assert (await call(asgi, "/team/t/restore"))["members"] == ["stays"]
    shown = await asgi.get(f"/v1/auth/key/{key['key_id']}", headers=ADMIN)
    assert (shown.json()["status"], shown.json()["user_id"]) == ("active", None)


async def test_a_label_is_no_deleted_user(asgi: httpx.AsyncClient) -> None:
    key = await call(asgi, "/key/generate", {"user_id": "label"})
    await call(asgi, "/key/delete", {"keys": [key["key"]]})
    assert (await call(asgi, f"/v1/auth/key/{key['key_id']}/restore"))["user_id"] == "label"


async def test_any_name_comes_back(asgi: httpx.AsyncClient) -> None:
    await call(asgi, "/tag/new", {"name": "prod eu/1"})
    await call(asgi, "/tag/delete", {"name": "prod eu/1"})
    assert (await call(asgi, "/tag/restore", {"id": "prod eu/1"}))["restored"] is True


async def test_the_audit_log_tells_a_return(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    await call(asgi, "/team/new", {"team_id": "t"})
    await call(asgi, "/team/delete", {"team_ids": ["t"]})
    await call(asgi, "/team/t/restore")
    rows = await gateway.services.database.fetch("SELECT action FROM audit ORDER BY seq")
    assert [row["action"] for row in rows] == ["team.create", "team.delete", "team.restore"]
