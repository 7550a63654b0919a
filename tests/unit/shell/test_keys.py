"""`/key/*` over a real granian on a real socket, with LiteLLM's field names and status codes."""

import hashlib
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.unit.admin.gateway import MASTER_KEY, Gateway
from tests.unit.shell.conftest import ADMIN, as_key, mint


async def post(http: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    response = await http.post(path, json=body, headers=ADMIN)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def info(http: httpx.AsyncClient, key: str) -> dict[str, Any]:
    response = await http.get("/key/info", params={"key": key}, headers=ADMIN)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["info"]
    return answer


async def test_the_life_of_a_key(http: httpx.AsyncClient, gateway: Gateway) -> None:
    made = await post(
        http, "/key/generate", key_alias="app", models=["gpt-4o"], duration="30d", rpm_limit=60,
        user_id="ann", metadata={"team": "x"}, max_parallel_requests=3, aliases={}, config={},
        permissions={}, spend=0, max_budget=None,
    )  # fmt: skip
    key, token = made["key"], made["token"]
    assert made["key_name"] == f"sk-...{key[-4:]}"
    assert token == made["token_id"] != hashlib.sha256(key.encode()).hexdigest()
    assert made["expires"] == "2026-10-21T14:13:20Z"
    assert (made["created_by"], made["status"], made["max_budget"]) == ("master", "active", None)

    seen = await info(http, key)
    assert "token" not in seen
    assert "key" not in seen
    assert seen == {name: value for name, value in made.items() if name not in ("key", "token", "token_id")}
    assert await info(http, token) == seen
    assert await info(http, hashlib.sha256(key.encode()).hexdigest()) == seen

    changed = await post(
        http, "/key/update", key=key, rpm_limit=None, models=[], duration=None, key_alias="app-2"
    )
    assert changed["key"] == key
    assert (changed["rpm_limit"], changed["models"], changed["expires"]) == (None, [], None)
    assert (changed["key_alias"], changed["metadata"]) == ("app-2", {"team": "x"})

    blocked = await post(http, "/key/block", key=token)
    assert (blocked["token"], blocked["blocked"], blocked["status"]) == (token, True, "blocked")
    assert gateway.plane.keys[bytes.fromhex(token)].state == "blocked"
    assert (await post(http, "/key/unblock", key=key))["status"] == "active"

    new = await post(http, "/key/regenerate", key=key)
    assert new["key"] != key
    assert (new["key_alias"], new["rotation_count"], new["key_id"]) == ("app-2", 1, made["key_id"])
    assert (await http.get("/key/info", params={"key": key}, headers=ADMIN)).status_code == 404
    newer = await http.post(f"/key/{new['token']}/regenerate", headers=ADMIN)
    assert newer.status_code == 200
    newest = newer.json()["key"]

    assert await post(http, "/key/delete", keys=[newest]) == {"deleted_keys": [newest]}
    gone = await info(http, newest)
    assert (gone["status"], gone["deleted_by"], gone["deleted_at"]) == (
        "deleted",
        "master",
        "2026-09-21T14:13:20Z",
    )
    again = await http.post("/key/delete", json={"keys": [newest]}, headers=ADMIN)
    assert again.status_code == 404
    assert gateway.plane.keys == {}


async def test_an_empty_body_makes_a_key(http: httpx.AsyncClient) -> None:
    response = await http.post("/key/generate", headers=ADMIN)
    assert response.status_code == 200
    assert response.json()["models"] == []


async def test_delete_by_alias(http: httpx.AsyncClient) -> None:
    made = await post(http, "/key/generate", key_alias="app")
    assert await post(http, "/key/delete", key_aliases=["app"]) == {"deleted_keys": [made["token"]]}


async def test_spend_is_exact(http: httpx.AsyncClient, gateway: Gateway) -> None:
    made = await post(http, "/key/generate")
    gateway.plane.spent[made["key_id"]] = 10**24 + 1
    gateway.plane.used[made["key_id"]] = (1_790_000_000_000_000, "2001:db8::7")
    response = await http.get("/key/info", params={"key": made["key"]}, headers=ADMIN)
    assert '"spend":1000000000000.000000000001' in response.text
    read = json.loads(response.text, parse_float=Decimal)["info"]
    assert read["spend"] == Decimal("1000000000000.000000000001")
    assert (read["last_active"], read["last_active_address"]) == ("2026-09-21T14:13:20Z", "2001:db8::7")


async def test_expiry(http: httpx.AsyncClient, gateway: Gateway) -> None:
    made = await post(http, "/key/generate", duration="1h")
    gateway.pass_time(3_600)
    assert (await info(http, made["key"]))["status"] == "expired"


async def test_a_key_sees_itself_and_no_other(http: httpx.AsyncClient, gateway: Gateway) -> None:
    mine, headers = await mint(gateway, key_alias="mine")
    other, _ = await mint(gateway, key_alias="other")
    own = await http.get("/key/info", headers=headers)
    assert own.json()["info"]["key_alias"] == "mine"
    assert own.json()["key"] == gateway.services.keys._digests.of_key(mine).hex()
    assert (await http.get("/key/info", params={"key": mine}, headers=headers)).json()["info"] == own.json()[
        "info"
    ]
    foreign = await http.get("/key/info", params={"key": other}, headers=headers)
    missing = await http.get("/key/info", params={"key": "sk-nobody-0123456789"}, headers=headers)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    timeless = [{**answer.headers, "date": ""} for answer in (foreign, missing)]
    assert timeless[0] == timeless[1]


async def test_info_of_the_master_key(http: httpx.AsyncClient) -> None:
    response = await http.get("/key/info", headers=ADMIN)
    assert response.status_code == 400
    assert "?key=" in response.json()["error"]["message"]
    assert (await http.get("/key/info", params={"key": MASTER_KEY}, headers=ADMIN)).status_code == 404


async def test_info_of_a_caller_whose_key_is_gone(http: httpx.AsyncClient) -> None:
    assert (await http.get("/key/info", headers=as_key("key_gone"))).status_code == 404


async def test_list(http: httpx.AsyncClient, gateway: Gateway) -> None:
    made = []
    for number in range(23):
        gateway.pass_time(1)
        made.append(
            await post(
                http, "/key/generate", key_alias=f"a{number:02}", user_id="ann" if number % 2 else "bob"
            )
        )

    async def page(**params: Any) -> dict[str, Any]:
        response = await http.get("/key/list", params=params, headers=ADMIN)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    first = await page()
    assert (first["total_count"], first["current_page"], first["total_pages"]) == (23, 1, 3)
    assert first["keys"] == [key["token"] for key in reversed(made)][:10]
    last = await page(page=3, sort_by="key_alias", sort_order="asc", return_full_object="true")
    assert [key["key_alias"] for key in last["keys"]] == ["a20", "a21", "a22"]
    assert last["keys"][0]["token"] == made[20]["token"]
    assert (await page(page=9))["keys"] == []
    assert (await page(user_id="ann", size=100))["total_count"] == 11
    assert (await page(search="A2", include_team_keys="true", team_id=""))["total_count"] == 3
    assert (await page(key_alias="a2"))["total_count"] == 0
    assert (await page(key_alias="a2", substring_matching="true"))["total_count"] == 3
    assert (await page(key_hash=made[5]["token"]))["keys"] == [made[5]["token"]]
    assert (await page(status="deleted"))["keys"] == []
    await post(http, "/key/delete", keys=[made[5]["key"]])
    deleted = await page(status="deleted", return_full_object="true")
    assert [(key["token"], key["deleted_by"]) for key in deleted["keys"]] == [(made[5]["token"], "master")]


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("/key/generate", {"max_budget": -1}, "max_budget", "invalid_parameter"),
    ("/key/generate", {"max_budget": 1e300}, "max_budget", "invalid_parameter"),
    ("/key/generate", {"budget_duration": "1y"}, "budget_duration", "invalid_request"),
    ("/key/generate", {"budget_duration": "0d"}, "budget_duration", "invalid_request"),
    ("/key/generate", {"tpm_limit": -100}, "tpm_limit", "invalid_parameter"),
    ("/key/generate", {"key_alias": "x" * 10_240}, "key_alias", "invalid_parameter"),
    ("/key/generate", {"metadata": {"guardrails": ["pii"]}}, "metadata.guardrails", "unsupported_parameter"),
    ("/key/generate", {"no_such_field": None}, "no_such_field", "unknown_parameter"),
    ("/key/generate", {"rpm_limit": 0}, "rpm_limit", "invalid_parameter"),
    ("/key/generate", {"rpm_limit": "60"}, "rpm_limit", "invalid_parameter"),
    ("/key/generate", {"rpm_limit": True}, "rpm_limit", "invalid_parameter"),
    ("/key/generate", {"models": ["a", 1]}, "models[1]", "invalid_parameter"),
    ("/key/generate", {"key": "abc-0123456789abcdef"}, "key", "invalid_parameter"),
    ("/key/generate", {"key": "sk-short"}, "key", "invalid_parameter"),
    ("/key/generate", {"key": "sk-0123456789abcdef\n"}, "key", "invalid_parameter"),
    ("/key/generate", {"key_alias": "a\nb"}, "key_alias", "invalid_parameter"),
    ("/key/generate", {"key_type": "root"}, "key_type", "invalid_parameter"),
    ("/key/generate", {"duration": "soon"}, "duration", "invalid_request"),
    ("/key/update", {"rpm_limit": 1}, "key", "missing_parameter"),
    ("/key/update", {"key": "sk-x", "aliases": {"a": "b"}}, "aliases", "unsupported_parameter"),
    ("/key/delete", {}, "keys", "invalid_request"),
    ("/key/delete", {"keys": [""]}, "keys[0]", "invalid_parameter"),
    ("/key/regenerate", {}, "key", "invalid_request"),
    ("/key/regenerate", {"key": "sk-x", "new_master_key": "x"}, "new_master_key", "unsupported_parameter"),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), REFUSED)
async def test_refusals_name_the_field(
    asgi: httpx.AsyncClient, path: str, body: dict[str, Any], param: str, code: str
) -> None:
    response = await asgi.post(path, json=body, headers=ADMIN)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert (
        param.split("[")[0] in error["message"] or "keys" in error["message"] or param in ("key", "duration")
    )


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"size": "1000"}, "size"),
        ({"page": "0"}, "page"),
        ({"page": "x"}, "page"),
        ({"agent_id": "t1"}, "agent_id"),
        ({"expand": "user"}, "expand"),
        ({"sort_by": "digest; DROP TABLE"}, "sort_by"),
        ({"nonsense": "1"}, "nonsense"),
    ],
)
async def test_list_refuses_what_it_cannot_do(
    asgi: httpx.AsyncClient, params: dict[str, str], param: str
) -> None:
    response = await asgi.get("/key/list", params=params, headers=ADMIN)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("path", ["/key/update", "/key/block", "/key/unblock", "/key/regenerate"])
async def test_a_key_that_does_not_exist(asgi: httpx.AsyncClient, path: str) -> None:
    response = await asgi.post(path, json={"key": "sk-nobody-0123456789"}, headers=ADMIN)
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": "no such key", "type": "not_found_error", "param": "key", "code": "key_not_found"
    }  # fmt: skip


async def test_clashes(asgi: httpx.AsyncClient) -> None:
    body = {"key": "sk-taken-0123456789", "key_alias": "taken"}
    assert (await asgi.post("/key/generate", json=body, headers=ADMIN)).status_code == 200
    for field, code in (("key", "key_exists"), ("key_alias", "key_alias_exists")):
        response = await asgi.post("/key/generate", json={field: body[field]}, headers=ADMIN)
        assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    response = await asgi.post("/key/generate", json={"key": MASTER_KEY}, headers=ADMIN)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "key_exists")


async def test_an_alias_that_several_organizations_have_deletes_no_key_of_another(
    asgi: httpx.AsyncClient, gateway: Gateway
) -> None:
    made = {}
    for org in ("one", "two"):
        await asgi.post(
            "/organization/new", json={"organization_alias": org, "organization_id": org}, headers=ADMIN
        )
        await asgi.post("/user/new", json={"user_id": f"o-{org}", "auto_create_key": False}, headers=ADMIN)
        member = {"organization_id": org, "member": {"user_id": f"o-{org}", "role": "owner"}}
        assert (await asgi.post("/organization/member_add", json=member, headers=ADMIN)).is_success
        body = {"organization_id": org, "key_alias": "app"}
        made[org] = (await asgi.post("/key/generate", json=body, headers=ADMIN)).json()
    unclear = await asgi.post("/key/delete", json={"key_aliases": ["app"]}, headers=ADMIN)
    assert (unclear.status_code, unclear.json()["error"]["code"]) == (409, "alias_of_several")
    _, owner = await mint(gateway, user_id="o-two")
    deleted = await asgi.post("/key/delete", json={"key_aliases": ["app"]}, headers=owner)
    assert deleted.json() == {"deleted_keys": [made["two"]["token"]]}
    body = {"key_aliases": ["app"]}
    assert (await asgi.post("/key/delete", json=body, headers=owner)).status_code == 404
    assert (await asgi.post("/key/delete", json=body, headers=ADMIN)).json() == {
        "deleted_keys": [made["one"]["token"]]
    }


async def test_plain_members_make_keys_of_their_own_where_the_team_lets_them(
    asgi: httpx.AsyncClient, gateway: Gateway
) -> None:
    await asgi.post("/team/new", json={"team_id": "t"}, headers=ADMIN)
    await asgi.post("/user/new", json={"user_id": "u", "auto_create_key": False}, headers=ADMIN)
    member = {"team_id": "t", "member": {"user_id": "u", "role": "user"}}
    await asgi.post("/team/member_add", json=member, headers=ADMIN)
    _, headers = await mint(gateway, user_id="u")
    assert (await asgi.post("/key/generate", json={"team_id": "t"}, headers=headers)).status_code == 403
    routes = {"team_id": "t", "team_member_permissions": ["/key/generate"]}
    await asgi.post("/team/permissions_update", json=routes, headers=ADMIN)
    made = await asgi.post("/key/generate", json={"team_id": "t"}, headers=headers)
    assert (made.status_code, made.json().get("user_id"), made.json().get("team_id")) == (200, "u", "t")


async def test_explain_shows_further_limits_and_guardrails(asgi: httpx.AsyncClient) -> None:
    await asgi.post("/team/new", json={"team_id": "t", "limits": [{"requests": 9}]}, headers=ADMIN)
    body = {"team_id": "t", "limits": [{"usd": 5, "per": "day", "models": ["gpt-*"]}]}
    made = (await asgi.post("/key/generate", json=body, headers=ADMIN)).json()
    shown = (await asgi.get("/key/explain", params={"key": made["key"]}, headers=ADMIN)).json()["settings"]
    settings = {setting["name"]: setting for setting in shown}
    assert [said["level"] for said in settings["limits"]["said"]] == ["team", "key"]
    assert settings["limits"]["effective"] == [
        {"requests": 9},
        {"usd": "5", "per": "day", "models": ["gpt-*"]},
    ]
    assert settings["guardrails"]["effective"] == []


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/customer/new", {"user_id": "x"}, "customer"),
        ("/tag/new", {"name": "x"}, "tag"),
        ("/team/member_update", {"team_id": "t", "user_id": "u"}, "member"),
    ],
    ids=["customer", "tag", "member"],
)
async def test_every_tenant_takes_limits_in_the_words_of_the_file(
    asgi: httpx.AsyncClient, gateway: Gateway, path: str, body: dict[str, str], kind: str
) -> None:
    await asgi.post("/team/new", json={"team_id": "t"}, headers=ADMIN)
    await asgi.post("/user/new", json={"user_id": "u", "auto_create_key": False}, headers=ADMIN)
    await asgi.post("/team/member_add", json={"team_id": "t", "member": {"user_id": "u"}}, headers=ADMIN)
    limits = [{"output_tokens": 130, "per": "1m"}, {"usd": 1, "per": "day", "each": "model"}]
    made = await asgi.post(path, json={**body, "limits": limits}, headers=ADMIN)
    assert made.status_code == 200, made.text
    assert '"output_tokens":130' in made.text
    (row,) = [row for (of, _), row in gateway.plane.subjects.items() if of == kind]
    assert [(rule.metric, rule.max) for rule in row.limits] == [("output_tokens", 130), ("spend", 10**12)]


async def test_a_budget_by_id_has_further_limits(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    body = {"budget_id": "b", "limits": [{"input_tokens": 7, "per": "1h"}]}
    made = await asgi.post("/budget/new", json=body, headers=ADMIN)
    assert made.json()["limits"] == [{"input_tokens": 7, "per": "1h"}]
    await asgi.post("/key/generate", json={"budget_id": "b"}, headers=ADMIN)
    (row,) = gateway.plane.keys.values()
    assert [(rule.metric, rule.max) for rule in row.limits] == [("input_tokens", 7)]


async def test_spend_is_seen_by_those_who_may(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    for org in ("mine", "theirs"):
        body = {"organization_alias": org, "organization_id": org}
        await asgi.post("/organization/new", json=body, headers=ADMIN)
    await asgi.post("/user/new", json={"user_id": "b", "auto_create_key": False}, headers=ADMIN)
    member = {"organization_id": "mine", "member": {"user_id": "b", "role": "billing"}}
    assert (await asgi.post("/organization/member_add", json=member, headers=ADMIN)).is_success
    auditor = {"user_id": "a", "user_role": "auditor", "auto_create_key": False}
    await asgi.post("/user/new", json=auditor, headers=ADMIN)
    _, sees_all = await mint(gateway, user_id="a")
    _, sees_mine = await mint(gateway, user_id="b")
    for path in ("/v1/spend", "/spend/logs", "/spend/logs/v2", "/global/spend", "/v1/bills"):
        assert (await asgi.get(path, headers=sees_all)).status_code == 200, path
        assert (await asgi.get(path, headers=sees_mine)).status_code == 403, path
    answers = {
        name: await asgi.get("/v1/spend", params={"organization": name}, headers=sees_mine)
        for name in ("mine", "theirs", "nobody", "")
    }
    assert [answer.status_code for answer in answers.values()] == [200, 403, 403, 403]
    assert answers["theirs"].content == answers["nobody"].content
    query = {"organization": "mine", "group_by": "team,model", "format": "csv"}
    assert (await asgi.get("/v1/spend", params=query, headers=sees_mine)).status_code == 200
    backwards = {"from": "2026-12-02", "to": "2026-12-01"}
    assert (await asgi.get("/v1/spend", params=backwards, headers=ADMIN)).status_code == 400
    one_day = {"from": "2026-12-02", "to": "2026-12-02"}
    assert (await asgi.get("/v1/spend", params=one_day, headers=ADMIN)).status_code == 200
