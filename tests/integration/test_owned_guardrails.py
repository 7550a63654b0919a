"""Guardrails of keys, teams and organizations: they hold for every model, and nobody switches them off."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model

RULES = [
    {"name": "no-bluebird", "words": ["bluebird"]},
    {"name": "few-words", "checks": [{"wordCount": {"maxWords": 3}}]},
    {"name": "no-ends", "checks": [{"endsWith": {"suffix": "secret", "not": True}}], "scan": ["output"]},
]

GONE = {"name": "gone", "words": ["never"]}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("owned"), config(provider, *RULES, GONE)) as running:
        yield running


def config(provider: MockProvider, *rules: dict[str, Any]) -> dict[str, Any]:
    return make_config(
        make_model("owned-m", make_deployment(provider, model="owned-m")),
        make_model("owned-tells", make_deployment(provider, "text=my secret", model="owned-tells")),
        guardrails=list(rules),
    )


def admin(gateway: Gateway, path: str, **body: Any) -> dict[str, Any]:
    answer = gateway.http.post(path, json=body, headers=gateway.admin)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ask(gateway: Gateway, key: str, text: str, model: str = "owned-m", **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {key}", **headers}
    return gateway.http.post("/v1/chat/completions", json=chat(model, text), headers=sent)


def test_a_key_has_guardrails_of_its_own(gateway):
    made = admin(gateway, "/key/generate", guardrails=["few-words", "no-ends"])
    assert made["guardrails"] == ["few-words", "no-ends"]
    key = made["key"]
    assert ask(gateway, key, "one two").status_code == 200
    refused = ask(gateway, key, "one two three four")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_policy_violation")
    assert ask(gateway, key, "one", "owned-tells").status_code == 400
    free = admin(gateway, "/key/generate")["key"]
    assert ask(gateway, free, "one two three four").status_code == 200
    # What a caller says does not matter.
    headers = {"x-portkey-config": '{"input_guardrails": []}', "x-litellm-disable-guardrails": "true"}
    assert ask(gateway, key, "one two three four", **headers).status_code == 400
    admin(gateway, "/key/update", key=key, guardrails=[])
    assert ask(gateway, key, "one two three four").status_code == 200


def test_what_stands_above_holds_below(gateway):
    organization = admin(gateway, "/organization/new", organization_alias="org", guardrails=["no-bluebird"])
    org_id = organization["organization_id"]
    team = admin(gateway, "/team/new", team_alias="t", organization_id=org_id, guardrails=["few-words"])
    assert team["guardrails"] == ["few-words"]
    key = admin(gateway, "/key/generate", team_id=team["team_id"])["key"]
    assert ask(gateway, key, "one two").status_code == 200
    assert ask(gateway, key, "a bluebird").status_code == 400
    assert ask(gateway, key, "one two three four").status_code == 400
    admin(gateway, "/team/update", team_id=team["team_id"], guardrails=[])
    assert ask(gateway, key, "one two three four").status_code == 200
    assert ask(gateway, key, "a bluebird").status_code == 400


def test_routes_that_cannot_be_looked_into_are_refused(gateway):
    key = admin(gateway, "/key/generate", guardrails=["few-words"])["key"]
    headers = {
        "authorization": f"Bearer {key}", "connection": "Upgrade", "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13",
    }  # fmt: skip
    refused = gateway.http.get("/v1/realtime?model=owned-m", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "endpoint_access_denied")


def test_a_guardrail_that_is_gone_closes_the_door(gateway, provider):
    key = admin(gateway, "/key/generate", guardrails=["gone"])["key"]
    assert ask(gateway, key, "one").status_code == 200
    gateway.reconfigure(config(provider, *RULES))
    refused = ask(gateway, key, "one")
    assert refused.status_code == 403
    assert "gone" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/key/generate", {}),
        ("/v1/auth/key/generate", {}),
        ("/team/new", {"team_alias": "t"}),
        ("/user/new", {}),
        ("/organization/new", {"organization_alias": "o"}),
        ("/project/new", {"project_alias": "p", "team_id": "t"}),
    ],
)
def test_a_name_that_is_not_configured_is_refused(gateway, path, body):
    sent = {**body, "guardrails": ["no-bluebird", "few-wrds"]}
    refused = gateway.http.post(path, json=sent, headers=gateway.admin)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["param"] == "guardrails[1]"
    assert "did you mean `few-words`" in error["message"]
