"""Organizations, teams, users and what they inherit, over HTTP: what management says, the data plane does."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Gateway, MockProvider
from tests.harness.tenants import ask, code, manage, team_key, tenants_config


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), tenants_config(provider)) as running:
        yield running


def test_models_are_inherited_and_never_widened(gateway: Gateway) -> None:
    gateway.call(
        "/organization/new", {"organization_id": "o1", "organization_alias": "One", "models": ["org/*", "m"]}
    )
    gateway.call("/team/new", {"team_id": "t1", "organization_id": "o1", "models": ["org/*"]})
    gateway.call("/team/new", {"team_id": "t1-below", "organization_id": "o1", "parent_team_id": "t1"})
    key = team_key(gateway, "t1-below", models=["org/one", "m"])
    assert ask(gateway, key, "org/one").status_code == 200
    assert ask(gateway, key, "m").status_code in (403, 404)
    assert ask(gateway, key, "org/two").status_code in (403, 404)
    # A change far above is effective when it is answered.
    gateway.call("/team/update", {"team_id": "t1", "models": ["org/two"]})
    assert ask(gateway, key, "org/one").status_code in (403, 404)
    gateway.call("/team/update", {"team_id": "t1", "models": []})
    assert ask(gateway, key, "m").status_code == 200
    explained = gateway.call("/key/explain", key=key)
    assert [level["kind"] for level in explained["levels"]] == ["organization", "team", "team", "key"]
    models = next(setting for setting in explained["settings"] if setting["name"] == "models")
    assert sorted(models["effective"]) == ["m", "org/one"]
    assert {said["level"] for said in models["said"]} == {"organization", "key"}


def test_access_groups(gateway: Gateway) -> None:
    gateway.call("/access_group/new", {"access_group": "beta", "model_names": ["org/one"]})
    gateway.call("/team/new", {"team_id": "t-group", "models": ["beta"]})
    key = team_key(gateway, "t-group")
    assert (ask(gateway, key, "org/one").status_code, ask(gateway, key, "m").status_code) == (200, 403)
    put = gateway.http.put("/access_group/beta/update", json={"model_names": ["m"]}, headers=gateway.admin)
    assert put.status_code == 200
    assert (ask(gateway, key, "org/one").status_code, ask(gateway, key, "m").status_code) == (403, 200)
    refused = gateway.http.delete("/access_group/beta/delete", headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "access_group_in_use")
    assert "t-group" in refused.text


def test_a_blocked_team_stops_its_keys(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "t2"})
    gateway.call("/team/new", {"team_id": "t2-below", "parent_team_id": "t2"})
    key = team_key(gateway, "t2-below")
    assert ask(gateway, key).status_code == 200
    gateway.call("/team/block", {"team_id": "t2"})
    assert code(ask(gateway, key)) == (401, "blocked_key")
    gateway.call("/team/unblock", {"team_id": "t2"})
    assert ask(gateway, key).status_code == 200


def test_limits_of_every_level(gateway: Gateway) -> None:
    gateway.call("/organization/new", {"organization_id": "o4", "organization_alias": "Four"})
    gateway.call("/team/new", {"team_id": "t4", "organization_id": "o4"})
    gateway.call("/project/new", {"project_id": "p4", "team_id": "t4"})
    gateway.call("/user/new", {"user_id": "u4", "organizations": ["o4"], "auto_create_key": False})
    gateway.call("/team/member_add", {"team_id": "t4", "member": {"role": "user", "user_id": "u4"}})
    made = gateway.call("/key/generate", {"project_id": "p4", "user_id": "u4"})
    assert (made["team_id"], made["organization_id"], made["project_id"]) == ("t4", "o4", "p4")
    key = made["key"]

    def limited(method: str, path: str, body: dict[str, Any]) -> None:
        answer = gateway.http.request(method, path, json=body | {"rpm_limit": 1}, headers=gateway.admin)
        assert answer.is_success, answer.text
        seen = [ask(gateway, key, "org/one").status_code for _ in range(3)]
        assert 429 in seen, path
        gateway.http.request(method, path, json=body | {"rpm_limit": None}, headers=gateway.admin)
        assert ask(gateway, key, "org/one").status_code == 200, path

    limited("PATCH", "/organization/update", {"organization_id": "o4"})
    limited("POST", "/team/update", {"team_id": "t4"})
    limited("POST", "/project/update", {"project_id": "p4"})
    limited("POST", "/user/update", {"user_id": "u4"})
    limited("POST", "/team/member_update", {"team_id": "t4", "user_id": "u4"})
    limited("POST", "/key/update", {"key": key})


def test_a_team_admin_manages_the_team(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "t5"})
    gateway.call("/team/new", {"team_id": "t5-other"})
    boss = gateway.call("/user/new", {"user_id": "boss"})["key"]
    gateway.call("/team/member_add", {"team_id": "t5", "member": {"role": "admin", "user_id": "boss"}})
    assert manage(gateway, boss, "POST", "/key/generate", {"team_id": "t5"}).status_code == 200
    assert (
        manage(gateway, boss, "POST", "/team/update", {"team_id": "t5", "team_alias": "Five"}).status_code
        == 200
    )
    assert (
        manage(gateway, boss, "POST", "/team/update", {"team_id": "t5", "max_budget": 9}).status_code == 403
    )
    other = manage(gateway, boss, "POST", "/team/update", {"team_id": "t5-other", "team_alias": "x"})
    missing = manage(gateway, boss, "POST", "/team/update", {"team_id": "t5-none", "team_alias": "x"})
    assert (other.status_code, other.text) == (missing.status_code, missing.text) == (404, other.text)
    assert [team["team_id"] for team in manage(gateway, boss, "GET", "/team/list").json()] == ["t5"]


def test_deleting_a_team_takes_its_keys_and_a_restore_brings_them_back(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "t6", "models": ["m"]})
    key = team_key(gateway, "t6", key_alias="six")
    gateway.call("/team/delete", {"team_ids": ["t6"]})
    assert code(ask(gateway, key)) == (401, "invalid_api_key")
    assert gateway.http.get("/team/info", params={"team_id": "t6"}, headers=gateway.admin).status_code == 404
    gateway.http.post("/team/t6/restore", headers=gateway.admin).raise_for_status()
    assert ask(gateway, key).status_code == 200


def test_cycles_are_refused(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "c1"})
    gateway.call("/team/new", {"team_id": "c2", "parent_team_id": "c1"})
    gateway.call("/team/new", {"team_id": "c3", "parent_team_id": "c2"})
    for parent in ("c1", "c2", "c3"):
        answer = manage(
            gateway, gateway.admin_key, "POST", "/team/update", {"team_id": "c1", "parent_team_id": parent}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "team_cycle"), parent


def test_rotation_with_overlap(gateway: Gateway) -> None:
    key = gateway.mint()
    made = gateway.call("/key/regenerate", {"key": key.secret, "grace_period": "3s"})
    assert (ask(gateway, key.secret).status_code, ask(gateway, made["key"]).status_code) == (200, 200)
    second = gateway.call("/key/regenerate", {"key": made["key"]})
    assert ask(gateway, second["key"]).status_code == 200
    assert code(ask(gateway, made["key"])) == (401, "invalid_api_key")
    assert code(ask(gateway, key.secret)) == (401, "invalid_api_key")


def test_a_repeat_happens_once(gateway: Gateway) -> None:
    headers = {**gateway.admin, "Idempotency-Key": "once-1"}
    first, second = (
        gateway.http.post("/key/generate", json={"key_alias": "once"}, headers=headers) for _ in range(2)
    )
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    other = gateway.http.post("/key/generate", json={"key_alias": "twice"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("info", "update", "change"),
    [
        ("/key/info?key={key}", "/key/update", {"key": "{key}", "max_budget": 7}),
        ("/team/info?team_id=versions", "/team/update", {"team_id": "versions", "max_budget": 7}),
        ("/user/info?user_id=versions", "/user/update", {"user_id": "versions", "max_budget": 7}),
        ("/v2/user/info?user_id=versions", "/user/update", {"user_id": "versions", "max_budget": 8}),
        (
            "/organization/info?organization_id=versions",
            "PATCH /organization/update",
            {"organization_id": "versions", "max_budget": 7},
        ),
    ],
)
def test_a_change_of_what_was_changed_meanwhile_is_refused(
    gateway: Gateway, info: str, update: str, change: dict[str, Any]
) -> None:
    """By the version that was read, told as an ETag and asked for with `If-Match`."""
    if gateway.http.get("/team/info?team_id=versions", headers=gateway.admin).status_code == 404:
        gateway.call("/organization/new", {"organization_id": "versions", "organization_alias": "Versions"})
        gateway.call("/team/new", {"team_id": "versions"})
        gateway.call("/user/new", {"user_id": "versions", "auto_create_key": False})
    key = gateway.call("/key/generate", {})["token"]
    read = gateway.http.get(info.format(key=key), headers=gateway.admin)
    headers = {**gateway.admin, "If-Match": read.headers["etag"]}
    method, _, path = update.rpartition(" ")
    body = {name: key if value == "{key}" else value for name, value in change.items()}
    answers = [gateway.http.request(method or "POST", path, json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 412], answers[0].text
    again = gateway.http.get(info.format(key=key), headers=gateway.admin)
    assert again.headers["etag"] != read.headers["etag"]
