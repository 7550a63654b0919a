"""The REST views under `/v1`: pages by cursor, versions as ETags, deletes taken back, providers by API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider
from tests.harness.tenants import ask, manage, tenants_config


class Place(NamedTuple):
    gateway: Gateway
    provider: MockProvider

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {**self.gateway.admin, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.gateway.http.request(method, path, json=body, headers=sent)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("rest")
    with MockProvider(directory / "provider") as provider:
        with Gateway(directory / "gateway", tenants_config(provider)) as gateway:
            yield Place(gateway, provider)


def test_a_key_from_birth_to_return(place: Place) -> None:
    made = place.call("POST", "/v1/auth/key/generate", {"key_alias": "rest", "rpm_limit": 100})
    assert made.status_code == 201
    key, path = made.json(), f"/v1/auth/key/{made.json()['key_id']}"
    shown = place.call("GET", path)
    assert shown.headers["etag"] == '"1"'
    assert shown.json()["key_alias"] == "rest"
    assert key["key"] not in shown.text
    changed = place.call("PATCH", path, {"rpm_limit": 50}, if_match='"1"')
    assert (changed.status_code, changed.json()["rpm_limit"]) == (200, 50)
    assert changed.headers["etag"] == '"2"'
    stale = place.call("PATCH", path, {"rpm_limit": 7}, if_match='"1"')
    assert (stale.status_code, stale.json()["error"]["code"]) == (412, "precondition_failed")
    assert ask(place.gateway, key["key"]).status_code == 200
    assert place.call("DELETE", path).json() == {"id": key["key_id"], "deleted": True}
    assert ask(place.gateway, key["key"]).status_code == 401
    assert place.call("PATCH", path, {"rpm_limit": 7}).status_code == 404
    restored = place.call("POST", f"{path}/restore", {})
    assert (restored.status_code, restored.json()["key_alias"]) == (200, "rest")
    assert ask(place.gateway, key["key"]).status_code == 200, "with the same secret"
    assert place.call("POST", f"{path}/restore", {}).status_code == 404


def test_pages_by_cursor_neither_repeat_nor_skip(place: Place) -> None:
    team = place.call("POST", "/v1/teams", {"team_alias": "pages"}).json()["team_id"]
    made = [place.gateway.call("/key/generate", {"team_id": team})["key_id"] for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "3", "team_id": team, **({} if cursor is None else {"cursor": cursor})}
        page = place.gateway.call("/v1/auth/key", **query)
        seen += [key["key_id"] for key in page["data"]]
        if not page["has_more"]:
            break
        # What was shown goes, and something new comes, between two pages.
        place.call("DELETE", f"/v1/auth/key/{page['data'][0]['key_id']}")
        if cursor is None:
            made.append(place.gateway.call("/key/generate", {"team_id": team})["key_id"])
        cursor = page["next_cursor"]
    assert seen == made
    for cursor in ("nonsense", "W10", "WzEsMl0", "AAAA", "é"):
        assert place.call("GET", f"/v1/users?cursor={cursor}").status_code == 400, cursor


def test_users_and_teams(place: Place) -> None:
    team = place.call("POST", "/v1/teams", {"team_id": "t-rest", "max_budget": 10})
    assert team.status_code == 201
    made = place.call("POST", "/v1/users", {"user_id": "u-rest", "user_email": "rest@example.com"})
    assert made.status_code == 201
    place.gateway.call(
        "/team/member_add", {"team_id": "t-rest", "member": {"role": "user", "user_id": "u-rest"}}
    )
    secret = place.gateway.call("/key/generate", {"team_id": "t-rest", "user_id": "u-rest"})["key"]
    for _ in range(3):
        assert ask(place.gateway, secret).status_code == 200
    for path, budget in (("/v1/teams/t-rest", 10), ("/v1/users/u-rest", None)):
        found = place.gateway.call(f"{path}/spending")
        assert (found["total"]["spend"], found["total"]["requests"]) == (3.0, 3)
        assert [(line["name"], line["spend"]) for line in found["by_model"]] == [("m", 3.0)]
        assert sum(line["requests"] for line in found["by_day"]) == 3
        assert found["max_budget"] == budget
    assert place.gateway.call("/v1/users", search="rest@")["data"][0]["teams"] == ["t-rest"]
    changed = place.call("PATCH", "/v1/users/u-rest", {"user_alias": "Rest"}, if_match="*")
    assert changed.json()["user_alias"] == "Rest"
    assert place.call("PATCH", "/v1/teams/t-rest", {"team_alias": "x"}, if_match='"99"').status_code == 412
    assert place.call("DELETE", "/v1/teams/t-rest").json()["deleted"] is True
    assert ask(place.gateway, secret).status_code == 401
    assert place.call("POST", "/v1/teams/t-rest/restore", {}).status_code == 200
    assert ask(place.gateway, secret).status_code == 200
    assert place.call("DELETE", "/v1/users/u-rest").status_code == 200
    assert place.call("GET", "/v1/users/u-rest").status_code == 404
    assert place.call("POST", "/v1/users/u-rest/restore", {}).json()["user_alias"] == "Rest"


def test_a_member_sees_his_own(place: Place) -> None:
    made = place.gateway.call("/user/new", {"user_id": "own", "user_role": "internal_user"})
    other = place.gateway.call("/user/new", {"user_id": "other", "user_role": "internal_user"})

    def get(path: str) -> httpx.Response:
        return manage(place.gateway, made["key"], "GET", path)

    assert get("/v1/users/own").status_code == 200
    assert [user["user_id"] for user in get("/v1/users").json()["data"]] == ["own"]
    assert get("/v1/users/own/spending").status_code == 200
    assert get("/v1/users/other/spending").json() == get("/v1/users/nobody/spending").json()
    assert get("/v1/users/other").status_code == 404
    foreign = place.gateway.call("/key/info", key=other["key"])["info"]["key_id"]
    assert get(f"/v1/auth/key/{foreign}").json() == get("/v1/auth/key/key_0").json()
    mine = manage(place.gateway, made["key"], "POST", "/v1/auth/key/generate", {})
    assert (mine.status_code, mine.json()["user_id"]) == (201, "own")
    assert get("/v1/providers").status_code == 403


# The noun, how it is made, how it is deleted, and by what it is known.
DELETED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("budget", {"budget_id": "b1", "max_budget": 3}, {"id": "b1"}, "b1"),
    ("tag", {"name": "t1"}, {"name": "t1"}, "t1"),
    ("customer", {"user_id": "c1"}, {"user_ids": ["c1"]}, "c1"),
    (
        "organization",
        {"organization_id": "o1", "organization_alias": "o"},
        {"organization_ids": ["o1"]},
        "o1",
    ),
]


@pytest.mark.parametrize(("noun", "body", "delete", "name"), DELETED, ids=[row[0] for row in DELETED])
def test_a_delete_is_taken_back(
    place: Place, noun: str, body: dict[str, Any], delete: dict[str, Any], name: str
) -> None:
    place.gateway.call(f"/{noun}/new", body)
    assert place.call("POST", f"/{noun}/restore", {"id": name}).status_code == 404, "not deleted"
    method = "DELETE" if noun == "organization" else "POST"
    assert place.call(method, f"/{noun}/delete", delete).is_success
    assert place.call("POST", f"/{noun}/restore", {"id": name}).json()["restored"] is True
    assert place.call("POST", f"/{noun}/new", body).status_code == 409, "it is there again"


def test_a_provider_made_here(place: Place) -> None:
    settings = {
        "dialect": "openai_chat",
        "base_url": f"{place.provider.url}/v1",
        "api_key": "sk-provider-secret",
    }
    made = place.call("POST", "/v1/providers", {"name": "inhouse", "settings": settings})
    assert made.status_code == 201, made.text
    assert (made.json()["source"], made.json()["has_key"]) == ("api", True)
    assert "sk-provider-secret" not in made.text
    params = {"model": "inhouse/upstream-model"}
    model = place.gateway.call("/model/new", {"model_name": "house", "litellm_params": params})
    secret = place.gateway.mint().secret
    assert ask(place.gateway, secret, "house").status_code == 200
    assert place.provider.requests()[-1].headers["authorization"] == "Bearer sk-provider-secret"
    (row,) = [row for row in place.gateway.call("/v1/providers")["data"] if row["name"] == "inhouse"]
    assert (row["deployments"], row["healthy"], row["models"]) == (1, 1, ["house"])
    etag = place.call("GET", "/v1/providers/inhouse").headers["etag"]
    changed = place.call("PATCH", "/v1/providers/inhouse", {"settings": {"title": "Ours"}}, if_match=etag)
    assert changed.json()["title"] == "Ours"
    used = place.call("DELETE", "/v1/providers/inhouse")
    assert (used.status_code, used.json()["error"]["code"]) == (409, "in_use")
    assert "model house" in used.json()["error"]["message"]
    place.gateway.call("/model/delete", {"id": model["model_id"]})
    assert place.call("DELETE", "/v1/providers/inhouse").json()["deleted"] is True
    assert place.call("GET", "/v1/providers/inhouse").status_code == 404


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dialect": "openai_chat"},
        {"dialect": "morse", "base_url": "http://127.0.0.1/v1"},
        {"dialect": "openai_chat", "base_url": "http://127.0.0.1/v1", "plugin": "os:system"},
        {"dialect": "openai_chat", "base_url": "http://127.0.0.1/v1", "api_key": "os.environ/HOME"},
        {"dialect": "openai_chat", "base_url": "http://127.0.0.1/v1", "colour": "red"},
    ],
)
def test_a_provider_that_cannot_be_used_is_not_stored(place: Place, settings: dict[str, Any]) -> None:
    refused = place.call("POST", "/v1/providers", {"name": "bad", "settings": settings})
    assert refused.status_code == 400, refused.text
    assert "bad" not in [row["name"] for row in place.gateway.call("/v1/providers")["data"]]


def test_a_repeat_is_done_once(place: Place) -> None:
    first = place.call("POST", "/v1/users", {"user_email": "once@example.com"}, idempotency_key="once-1")
    again = place.call("POST", "/v1/users", {"user_email": "once@example.com"}, idempotency_key="once-1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
