"""Requests stay where whose they are allows: in regions, with providers that keep nothing."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

EU = ["eu-west-1", "eu-central-1"]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, model=name, id=f"{name}-id", **settings)

    config = make_config(
        make_model("both", at("b-us", region="us-east-1", weight=1_000), at("b-eu", region="eu-west-1")),
        make_model("us", at("us", region="us-east-1")),
        make_model("nowhere", at("unsaid")),
        make_model("eu-down", at("down", "status=500", region="eu-west-1"), fallbacks=["us"]),
        make_model("quiet", at("q", region="eu-central-1", zero_data_retention=True)),
        make_model("seen", at("seen", region="eu-west-1"), routing={"mirror": {"model": "us"}}),
        {"name": "auto", "auto": {"models": ["us", "both"]}},
        {"name": "auto-us", "auto": {"models": ["us", "nowhere"]}},
        routing={"boundaries": [
            {"when": {"key.alias": {"$in": ["eu", "strict"]}}, "regions": EU},
            {"when": 'key.alias == "strict"', "zero_data_retention": True},
        ]},
    )  # fmt: skip
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, Key]:
    return {name: gateway.mint(key_alias=name) for name in ("eu", "strict", "free")}


def ask(gateway: Gateway, key: Key, model: str) -> httpx.Response:
    headers = {**key.bearer, "x-ailink-explain": "1"}
    return gateway.http.post("/v1/chat/completions", json=chat(model), headers=headers)


def models(gateway: Gateway, key: Key) -> set[str]:
    return {row["id"] for row in gateway.http.get("/v1/models", headers=key.bearer).json()["data"]}


def test_requests_stay_within(gateway: Gateway, keys: dict[str, Key]) -> None:
    answers = [ask(gateway, keys["eu"], "both") for _ in range(20)]
    assert {answer.headers["x-ailink-deployment"] for answer in answers} == {"b-eu-id"}
    [choice] = json.loads(answers[0].headers["x-ailink-decision"])["choices"]
    assert choice["dropped"] == [{"deployment": "b-us-id", "reason": "boundary"}]
    free = {ask(gateway, keys["free"], "both").headers["x-ailink-deployment"] for _ in range(10)}
    assert "b-us-id" in free


@pytest.mark.parametrize("model", ["us", "nowhere"])
def test_what_is_not_within_is_refused(
    gateway: Gateway, keys: dict[str, Key], provider: MockProvider, model: str
) -> None:
    mark = provider.mark()
    answer = ask(gateway, keys["eu"], model)
    assert answer.status_code == 403, answer.text
    assert "in eu-west-1 or eu-central-1" in answer.json()["error"]["message"]
    assert provider.mark() == mark
    assert ask(gateway, keys["free"], model).status_code == 200


def test_neither_fallbacks_nor_mirrors_leave(
    gateway: Gateway, keys: dict[str, Key], provider: MockProvider
) -> None:
    assert ask(gateway, keys["free"], "eu-down").status_code == 200
    mark = provider.mark()
    assert ask(gateway, keys["eu"], "eu-down").status_code in (403, 500)
    assert ask(gateway, keys["eu"], "seen").status_code == 200
    # A mirror is sent when its request is under way; another request gives it the time.
    assert ask(gateway, keys["eu"], "both").status_code == 200
    assert "us" not in [seen.json()["model"] for seen in provider.requests(mark)]


def test_all_that_hold_bind(gateway: Gateway, keys: dict[str, Key]) -> None:
    assert ask(gateway, keys["strict"], "quiet").status_code == 200
    answer = ask(gateway, keys["strict"], "both")
    assert answer.status_code == 403
    assert "with providers that keep nothing" in answer.json()["error"]["message"]


def test_the_list_of_models_is_what_can_be_used(gateway: Gateway, keys: dict[str, Key]) -> None:
    assert models(gateway, keys["strict"]) == {"quiet"}
    assert models(gateway, keys["eu"]) == {"both", "eu-down", "quiet", "seen", "auto"}
    assert {"us", "nowhere", "auto-us"} <= models(gateway, keys["free"])
    one = gateway.http.get("/v1/models/us", headers=keys["eu"].bearer)
    assert one.status_code == 404
