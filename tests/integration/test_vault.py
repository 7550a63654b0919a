"""Tokens that outlive their request: the same for a tenant, kept sealed, found again, and forgotten."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model

MAIL = "jane.doe.of.the.vault@example.org"


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("vault-m", make_deployment(provider, "echo=1", model="vault-m"), guardrails=["kept"]),
        make_model(
            "vault-says",
            make_deployment(provider, "text=no tokens", model="vault-says"),
            guardrails=["kept"],
        ),
        guardrails=[{"name": "kept", "presets": ["pii"], "action": "tokenize", "vault": "tenant"}],
    )
    with Gateway(tmp_path_factory.mktemp("vault"), config) as running:
        yield running


@pytest.fixture(scope="module")
def teams(gateway: Gateway) -> dict[str, str]:
    """A key of each of two teams."""
    keys = {}
    for name in ("one", "other"):
        gateway.call("/team/new", {"team_id": f"vault-{name}"})
        keys[name] = str(gateway.call("/key/generate", {"team_id": f"vault-{name}"})["key"])
    return keys


def ask(gateway: Gateway, key: str, text: str, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    answer = gateway.http.post("/v1/chat/completions", json=chat("vault-m", text, **more), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def said(answer: httpx.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def token(gateway: Gateway, provider: MockProvider, key: str, value: str) -> str:
    """What the provider reads in the place of a value."""
    mark = provider.mark()
    assert said(ask(gateway, key, f"I am {value}")) == f"I am {value}"
    (seen,) = provider.requests(mark)
    return str(seen.json()["messages"][0]["content"]).removeprefix("I am ")


def test_a_tenant_has_one_token_for_a_value_and_finds_it_again(
    gateway: Gateway, provider: MockProvider, teams: dict[str, str]
) -> None:
    mine = token(gateway, provider, teams["one"], MAIL)
    assert mine.startswith("<EMAIL_")
    assert len(mine) == len("<EMAIL_>") + 12
    assert token(gateway, provider, teams["one"], MAIL) == mine
    theirs = token(gateway, provider, teams["other"], MAIL)
    assert theirs != mine
    # Only the token travels: its own tenant gets the value, another one does not.
    assert said(ask(gateway, teams["one"], f"who is {mine}?")) == f"who is {MAIL}?"
    assert said(ask(gateway, teams["other"], f"who is {mine}?")) == f"who is {mine}?"
    streamed = ask(gateway, teams["one"], f"who is {mine}?", stream=True)
    assert MAIL.split("@")[1] in streamed.text.replace('"}}]', "")
    assert mine not in streamed.text


def test_it_outlives_the_process_and_is_sealed_in_the_store(
    gateway: Gateway, provider: MockProvider, teams: dict[str, str]
) -> None:
    mine = token(gateway, provider, teams["one"], MAIL)
    gateway.restart()
    assert said(ask(gateway, teams["one"], f"who is {mine}?")) == f"who is {MAIL}?"
    assert token(gateway, provider, teams["one"], MAIL) == mine
    left = [file for file in gateway.data.rglob("*") if file.is_file() and MAIL.encode() in file.read_bytes()]
    assert left == []
    assert MAIL not in gateway.log


def test_what_is_purged_is_a_token_for_good(
    gateway: Gateway, provider: MockProvider, teams: dict[str, str]
) -> None:
    mine = token(gateway, provider, teams["one"], MAIL)
    tenants = {row["tenant"]: row["values"] for row in gateway.call("/guardrails/vault")["tenants"]}
    assert tenants["team:vault-one"] == 1
    assert MAIL not in json.dumps(gateway.call("/guardrails/vault"))
    assert gateway.call("/guardrails/purge", {"tenant": "team:vault-one"}) == {"purged": 1}
    assert said(ask(gateway, teams["one"], f"who is {mine}?")) == f"who is {mine}?"
    # Seen once more, it is kept anew.
    assert token(gateway, provider, teams["one"], MAIL) == mine
    assert said(ask(gateway, teams["one"], f"who is {mine}?")) == f"who is {MAIL}?"
    for body in ({}, {"tenant": "team:vault-one", "everything": True}):
        refused = gateway.http.post("/guardrails/purge", json=body, headers=gateway.admin)
        assert refused.status_code == 400
    headers = {"authorization": f"Bearer {teams['one']}"}
    assert gateway.http.get("/guardrails/vault", headers=headers).status_code == 403
