"""What a request may cost, and in which language it is: fallbacks for cost, `max_cost`, and conditions on
what is left of a budget and on the language.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.providers import Registry

DEAR, CHEAP = ({"input_per_million": 0, "output_per_million": 0, "per_request": price} for price in (1, 0.01))
BY_TOKEN = {"input_per_million": 0, "output_per_million": 10_000}
GERMAN = "Wie viele Menschen leben in Berlin, und warum sind es so viele?"
ENGLISH = "How many people live in Berlin, and why is it so?"


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def model(name: str, price: dict[str, float], **settings: Any) -> dict[str, Any]:
        return make_model(name, make_deployment(provider, model=name, price=price), **settings)

    def goes(*rules: tuple[Any, str]) -> dict[str, Any]:
        return {"conditions": [{"when": when, "then": then} for when, then in rules]}

    bound = {"max_cost": 0.5}
    config = make_config(
        model("cheap", CHEAP),
        model("spare", DEAR),
        model("dear", DEAR, cost_fallbacks=["cheap"]),
        model("dear-general", DEAR, fallbacks=["cheap"]),
        make_model(
            "bounded",
            make_deployment(provider, model="b", id="b-dear", price=DEAR, weight=1_000_000),
            make_deployment(provider, model="b", id="b-mid", price=CHEAP),
            make_deployment(provider, model="b", id="b-unknown"),
            routing=bound,
        ),
        model("bounded-out", DEAR, routing=bound, cost_fallbacks=["spare", "cheap"]),
        model("bounded-general", DEAR, routing=bound, fallbacks=["cheap"]),
        model("bounded-tokens", BY_TOKEN, routing=bound),
        model("left", DEAR, routing=goes(({"budget.left": {"$lt": 1.5}}, "cheap"))),
        model("left-percent", DEAR, routing=goes(("budget.left_percent < 50.0", "cheap"))),
        model("by-language", CHEAP, routing=goes(({"language": {"$in": ["de", "nl"]}}, "cheap"))),
        model("policed", CHEAP, policies=["only-english", "not-at-the-end"]),
        policies=[
            {"name": "only-english", "when": 'language != "en"', "then": [{"deny": {"status": 451}}]},
            {"name": "not-at-the-end", "when": "budget.left < 0.5", "then": [{"deny": {"status": 402}}]},
        ],
        server={"threads": 1},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str = "hello", **more: Any) -> httpx.Response:
    headers = {**key.bearer, "x-ailink-explain": "1"}
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=headers)


def served(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-ailink-model"]


def test_a_cheaper_model_stands_in_for_the_rest_of_a_budget(gateway: Gateway) -> None:
    key = gateway.mint(max_budget=2.025)
    assert [served(ask(gateway, key, "dear")) for _ in range(4)] == ["dear", "dear", "cheap", "cheap"]
    over = ask(gateway, key, "dear")
    assert (over.status_code, over.json()["error"]["code"]) == (422, "budget_exceeded")
    assert gateway.call("/key/info", key=key.secret)["info"]["spend"] == 2.02


def test_general_fallbacks_are_not_for_budgets(gateway: Gateway) -> None:
    key = gateway.mint(max_budget=0.5)
    assert ask(gateway, key, "dear-general", max_tokens=10).status_code == 422


def test_what_is_too_dear_is_left_out(gateway: Gateway, key: Key) -> None:
    decisions = [
        json.loads(ask(gateway, key, "bounded").headers["x-ailink-decision"])["choices"][0] for _ in range(8)
    ]
    for choice in decisions:
        assert "b-dear" not in choice["order"]
        assert {row["deployment"]: row["reason"] for row in choice["dropped"]} == {"b-dear": "cost"}
    assert {choice["order"][0] for choice in decisions} == {"b-mid", "b-unknown"}


@pytest.mark.parametrize("model", ["bounded-out", "bounded-general"])
def test_a_model_that_is_too_dear_is_stood_in_for(gateway: Gateway, key: Key, model: str) -> None:
    # `spare` is as dear, but has no bound of its own.
    assert served(ask(gateway, key, model)) == ("spare" if model == "bounded-out" else "cheap")
    asked = gateway.http.post("/routing/simulate", json=chat(model), headers=key.bearer)
    assert asked.json()["choices"][-1]["model"] == ("spare" if model == "bounded-out" else "cheap")


def test_a_bound_without_another_refuses(gateway: Gateway, key: Key) -> None:
    assert served(ask(gateway, key, "bounded-tokens", max_tokens=10)) == "bounded-tokens"
    refused = ask(gateway, key, "bounded-tokens", max_tokens=100)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "max_tokens")
    assert "may cost $1.0" in error["message"]
    assert "$0.500000" in error["message"]


@pytest.mark.parametrize("model", ["left", "left-percent"])
def test_a_condition_on_what_is_left(gateway: Gateway, key: Key, model: str) -> None:
    short = gateway.mint(max_budget=2.2)
    expected = [model, "cheap"] if model == "left" else [model, model, "cheap"]
    assert [served(ask(gateway, short, model)) for _ in expected] == expected
    # Nobody's budget is left of nothing.
    assert served(ask(gateway, key, model)) == model


def test_the_tightest_budget_counts(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "tight", "max_budget": 1.2})
    key = gateway.call("/key/generate", {"team_id": "tight", "max_budget": 100})["key"]
    headers = {"Authorization": f"Bearer {key}"}
    answer = gateway.http.post("/v1/chat/completions", json=chat("left"), headers=headers)
    assert served(answer) == "cheap"


@pytest.mark.parametrize(
    ("text", "model"), [(GERMAN, "cheap"), (ENGLISH, "by-language"), ("12 + 30", "by-language")]
)
def test_a_condition_on_the_language(gateway: Gateway, key: Key, text: str, model: str) -> None:
    assert served(ask(gateway, key, "by-language", text)) == model


def test_policies_know_both(gateway: Gateway, key: Key) -> None:
    assert served(ask(gateway, key, "policed", ENGLISH)) == "policed"
    assert ask(gateway, key, "policed", GERMAN).status_code == 451
    poor = gateway.mint(max_budget=0.4)
    assert ask(gateway, poor, "policed", ENGLISH).status_code == 402
    trial = {"body": chat("policed", ENGLISH), "budget_left": 0.1}
    told = gateway.call("/policies/simulate", {"request": trial})
    assert (told["outcome"], told["status"], told["by"]) == ("deny", 402, "not-at-the-end")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"cost_fallbacks": ["nobody"]}, "models[0].cost_fallbacks[0]"),
        ({"routing": {"max_cost": -1}}, "models[0].routing.max_cost"),
        ({"routing": {"conditions": [{"when": {"budget.lft": {"$lt": 1}}, "then": "m"}]}}, "budget.left"),
    ],
)
def test_refused_when_loaded(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    file = tmp_path / "ailink.yaml"
    file.write_text(
        json.dumps(make_config(make_model("m", make_deployment("http://127.0.0.1:9"), **settings)))
    )
    with pytest.raises(ConfigError) as refused:
        loader.load(file, Registry.builtin(), {})
    assert told in str([(problem.path, problem.message) for problem in refused.value.problems])
