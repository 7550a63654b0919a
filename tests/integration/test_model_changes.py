"""Models and deployments made through the API: in force at once, kept, with secrets that never come out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.harness.config import make_config, make_deployment, make_model, write_config
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider
from tests.harness.tenants import ask, manage

SECRET = "sk-upstream-0123456789-secret"


class Place(NamedTuple):
    gateway: Gateway
    provider: MockProvider
    secret: str

    def new(self, name: str, **more: Any) -> Any:
        """The body of a deployment at the mock provider."""
        params = {"model": "openai/upstream-model", "api_base": f"{self.provider.url}/v1", "api_key": SECRET}
        return {"model_name": name, "litellm_params": {**params, **more}, "model_info": {}}

    def manage(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        return manage(self.gateway, self.gateway.admin_key, method, path, body, **query)


@contextmanager
def made_place(directory: Path) -> Iterator[Place]:
    with MockProvider(directory / "provider") as provider:
        config = make_config(
            make_model("file", make_deployment(provider, "text=from the file", id="d-file"), aliases=["nick"])
        )
        with Gateway(directory / "gateway", config) as gateway:
            yield Place(gateway, provider, gateway.mint().secret)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with made_place(tmp_path) as place:
        yield place


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Nothing is ever made here."""
    with made_place(tmp_path_factory.mktemp("refusing")) as place:
        yield place


def test_a_model_is_made_changed_and_deleted(place: Place) -> None:
    assert ask(place.gateway, place.secret, "fresh").status_code == 404
    made = place.gateway.call("/model/new", place.new("fresh", model="openai/upstream-model?text=one"))
    assert ask(place.gateway, place.secret, "fresh").json()["choices"][0]["message"]["content"] == "one"
    assert place.provider.requests()[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert "fresh" in [row["id"] for row in place.gateway.call("/v1/models")["data"]]
    change = {
        "litellm_params": {"model": "openai/upstream-model?text=two"},
        "model_info": {"note": "changed"},
    }
    changed = place.manage("PATCH", f"/model/{made['model_id']}/update", change).json()
    assert changed["litellm_params"]["api_key"] == "********"
    assert changed["model_info"] == {"id": made["model_id"], "db_model": True, "note": "changed"}
    assert ask(place.gateway, place.secret, "fresh").json()["choices"][0]["message"]["content"] == "two"
    assert place.provider.requests()[-1].headers["authorization"] == f"Bearer {SECRET}", "the key stayed"
    deleted = place.gateway.call("/model/delete", {"id": made["model_id"]})
    assert deleted == {"message": f"Model: {made['model_id']} deleted successfully"}
    assert ask(place.gateway, place.secret, "fresh").status_code == 404
    assert place.manage("POST", "/model/delete", {"id": made["model_id"]}).status_code == 404


def test_groups_of_models_of_the_api_are_switched(place: Place) -> None:
    for group in ("blue", "green"):
        model = place.new("fresh", model=f"openai/upstream-model?text={group}")
        model["litellm_params"]["group"] = group
        place.gateway.call("/model/new", model)

    def said() -> str:
        answer = ask(place.gateway, place.secret, "fresh").json()
        return str(answer["choices"][0]["message"]["content"])

    assert {said() for _ in range(5)} == {"blue"}
    listed = place.gateway.call("/routing/groups")["data"]
    assert [(entry["model"], entry["active"]) for entry in listed] == [("fresh", "blue")]
    told = place.gateway.call("/routing/switch", {"model": "fresh", "group": "green"})
    assert (told["active"], told["previous"]) == ("green", "blue")
    assert {said() for _ in range(5)} == {"green"}


def test_it_is_shown_without_its_secret_and_kept_sealed(place: Place) -> None:
    body = place.new("fresh", extra_headers={"x-team": "hidden-header-value"}, input_cost_per_token=0.000002)
    made = place.gateway.call("/model/new", {**body, "model_info": {"id": "mine", "base_model": "gpt-4o"}})
    assert made["model_id"] == "mine"
    (entry,) = place.gateway.call("/model/info", litellm_model_id="mine")["data"]
    assert entry["model_info"]["db_model"] is True
    assert entry["model_info"]["base_model"] == "gpt-4o"
    assert entry["model_info"]["input_cost_per_token"] == 0.000002
    assert entry["litellm_params"]["model"] == "openai/upstream-model"
    page = place.gateway.call("/v2/model/info", size=1, page=2)
    assert (page["total_count"], page["total_pages"], len(page["data"])) == (2, 2, 1)
    (group,) = place.gateway.call("/model_group/info", model_group="fresh")["data"]
    assert (group["providers"], group["input_cost_per_token"]) == (["openai"], 0.000002)
    seen_by_a_key = manage(place.gateway, place.secret, "GET", "/model/info").text
    assert place.provider.url not in seen_by_a_key
    audited = (
        sqlite3.connect(place.gateway.data / "ailink.db").execute("SELECT * FROM config_object").fetchall()
    )
    for text in (str(entry), str(made), str(audited), place.gateway.log, seen_by_a_key):
        assert SECRET not in text
        assert "hidden-header-value" not in text
    for file in place.gateway.data.glob("*.db*"):
        assert SECRET.encode() not in file.read_bytes()


def test_it_survives_a_restart(place: Place) -> None:
    place.gateway.call("/model/new", place.new("fresh", model="openai/upstream-model?text=kept"))
    place.gateway.restart()
    assert ask(place.gateway, place.secret, "fresh").json()["choices"][0]["message"]["content"] == "kept"


def test_a_deployment_joins_the_group_of_the_file(place: Place) -> None:
    place.gateway.call("/model/new", place.new("file", model="openai/upstream-model?text=from the API"))
    texts = {
        ask(place.gateway, place.secret, "file").json()["choices"][0]["message"]["content"] for _ in range(40)
    }
    assert texts == {"from the file", "from the API"}


def test_a_blocked_deployment_takes_nothing(place: Place) -> None:
    made = place.gateway.call("/model/new", place.new("fresh"))
    assert place.gateway.call("/model/block", {"model_id": made["model_id"]})["blocked"] is True
    assert ask(place.gateway, place.secret, "fresh").status_code == 404
    place.gateway.call("/model/unblock", {"model_id": made["model_id"]})
    assert ask(place.gateway, place.secret, "fresh").status_code == 200


def test_the_file_wins(place: Place) -> None:
    refused = place.manage(
        "POST", "/model/update", {"model_info": {"id": "d-file"}, "litellm_params": {"rpm": 1}}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_the_file")
    assert place.manage("POST", "/model/delete", {"id": "d-file"}).status_code == 409
    assert place.manage("POST", "/model/new", place.new("nick")).json()["error"]["param"] == "model_name"
    twin = {**place.new("x"), "model_info": {"id": "d-file"}}
    assert place.manage("POST", "/model/new", twin).status_code == 400
    made = place.gateway.call("/model/new", place.new("fresh"))
    provider = place.provider
    write_config(
        place.gateway.file,
        make_config(
            make_model("file", make_deployment(provider)),
            make_model("other", make_deployment(provider), aliases=["fresh"]),
        ),
    )
    place.gateway.child.alive_until(
        lambda: "is not in force" in place.gateway.log, "the reload leaves it out", 20
    )
    assert made["model_id"] in place.gateway.log
    # One that does not fit does not keep others from being made.
    place.gateway.call("/model/new", place.new("second"))
    assert ask(place.gateway, place.secret, "second").status_code == 200


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"litellm_params": {}}, "litellm_params.model"),
    ({"litellm_params": {"model": "nobody/x", "api_key": "k"}}, "litellm_params.model"),
    ({"litellm_params": {"model": "mock/x", "api_key": "k", "colour": 1}}, "litellm_params.colour"),
    ({"litellm_params": {"model": "mock/x", "api_key": "os.environ/HOME"}}, "litellm_params.api_key"),
    ({"litellm_params": {"model": "mock/x", "api_base": "http://${HOME}/"}}, "litellm_params.api_base"),
    (
        {"litellm_params": {"model": "openai/gpt-4o", "api_base": "file:///etc/passwd", "api_key": "k"}},
        "base_url",
    ),
    ({"litellm_params": {"model": "openai/gpt-4o", "api_base": "https://elsewhere.example"}}, "api_key"),
    ({"litellm_params": {"model": "mock/x", "guardrails": ["a"]}}, "litellm_params.guardrails"),
    ({"litellm_params": {"model": "mock/x"}, "model_info": {"team_id": "t"}}, "model_info.team_id"),
    ({"litellm_params": {"model": "mock/x"}, "model_info": {"id": "a b"}}, "model_info.id"),
    ({"litellm_params": {"model": "mock/x", "weight": "heavy"}}, "litellm_params.weight"),
    ({"litellm_params": {"model": "mock/x", "litellm_credential_name": "none"}}, ""),
    ({"litellm_params": {"model": "mock/*"}}, "litellm_params.model"),
    ({"litellm_params": ["a"]}, "litellm_params"),
    ({"litellm_params": {"model": "mock/x"}, "surprise": 1}, "surprise"),
]


@pytest.mark.parametrize(
    ("more", "param"), REFUSED, ids=[f"{n}-{param}" for n, (_, param) in enumerate(REFUSED)]
)
def test_what_cannot_be_used_is_refused(refusing: Place, more: dict[str, Any], param: str) -> None:
    response = refusing.manage("POST", "/model/new", {"model_name": "bad", **more})
    assert response.status_code == 400, response.text
    assert param in (response.json()["error"]["param"] or "")
    assert [row["id"] for row in refusing.gateway.call("/v1/models")["data"]].count("bad") == 0


def test_what_was_refused_is_not_stored(refusing: Place) -> None:
    for more, _ in REFUSED:
        assert refusing.manage("POST", "/model/new", {"model_name": "bad", **more}).status_code == 400
    refusing.gateway.restart()
    assert len(refusing.gateway.call("/model/info")["data"]) == 1


def test_a_stored_credential_is_used_and_kept(place: Place) -> None:
    place.gateway.call(
        "/credentials",
        {"credential_name": "main", "credential_values": {"api_key": SECRET}, "credential_info": {}},
    )
    body = place.new("fresh", litellm_credential_name="main")
    del body["litellm_params"]["api_key"]
    place.gateway.call("/model/new", body)
    ask(place.gateway, place.secret, "fresh")
    assert place.provider.requests()[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert place.manage("DELETE", "/credentials/main").status_code == 409


def test_who_is_not_the_operator_reaches_no_private_address(place: Place) -> None:
    """The mock provider is on loopback: fine for the operator, not for a role that may write models only."""
    role = place.gateway.call(
        "/role/new", {"name": "modeller", "permissions": ["models.read", "models.write"]}
    )
    made = place.gateway.call("/user/new", {"user_id": "u", "user_role": role["id"]})
    mine = manage(place.gateway, made["key"], "POST", "/model/new", place.new("inner"))
    assert mine.status_code == 200, mine.text
    before = len(place.provider.requests())
    refused = ask(place.gateway, place.secret, "inner")
    assert refused.status_code >= 500
    assert len(place.provider.requests()) == before, "no connection was made"
    member = place.gateway.call("/user/new", {"user_id": "m", "user_role": "internal_user"})
    assert manage(place.gateway, member["key"], "POST", "/model/new", place.new("x")).status_code == 403


def test_what_the_file_says_of_a_provider_holds_for_models_of_the_api(tmp_path: Path) -> None:
    """Also where the catalogue's provider takes no keys."""
    own = {"mock": {"auth": {"scheme": "bearer"}}, "openai": {"auth": {"scheme": "header", "name": "X-Key"}}}
    with MockProvider(tmp_path / "provider") as provider:
        config = make_config(make_model("file", make_deployment(provider)), providers=own)
        with Gateway(tmp_path / "gateway", config) as gateway:
            place = Place(gateway, provider, gateway.mint().secret)
            seen = {}
            for name in own:
                gateway.call("/model/new", place.new(name, model=f"{name}/upstream-model"))
                assert ask(gateway, place.secret, name).status_code == 200
                seen[name] = provider.requests()[-1].headers
            assert seen["mock"]["authorization"] == f"Bearer {SECRET}"
            assert seen["openai"]["x-key"] == SECRET
            assert "authorization" not in seen["openai"]
