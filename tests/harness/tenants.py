"""What tests of tenants share: a gateway whose requests cost 1 USD, and calls as one key or another."""

from typing import Any

import httpx
from tests.harness.config import Section, chat, make_config, make_deployment, make_model
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider

# 1 USD a request, so that budgets are counted on fingers.
PRICE = {"input_per_million": 0, "output_per_million": 0, "per_request": 1}


def tenants_config(provider: MockProvider) -> Section:
    """The model `m` at 1 USD a request, `org/one` and `org/two` without a price."""
    return make_config(
        make_model("m", make_deployment(provider), price=PRICE),
        make_model("org/one", make_deployment(provider)),
        make_model("org/two", make_deployment(provider)),
        server={"threads": 2},
    )


def ask(gateway: Gateway, secret: str, model: str = "m", **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=headers)


def code(response: httpx.Response) -> tuple[int, str]:
    return (
        (response.status_code, "")
        if response.is_success
        else (
            response.status_code,
            response.json()["error"]["code"],
        )
    )


def manage(
    gateway: Gateway, secret: str, method: str, path: str, body: Any = None, **query: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return gateway.http.request(method, path, json=body, params=query or None, headers=headers)


def team_key(gateway: Gateway, team: str, **settings: Any) -> str:
    made = gateway.call("/key/generate", {"team_id": team, **settings})
    secret: str = made["key"]
    return secret
