"""Conditions in the configuration, and Portkey's config objects as they are documented."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

SAVED = {
    "pc-fallback": {
        "strategy": {"mode": "fallback"},
        "targets": [{"override_params": {"model": "broken"}}, {"override_params": {"model": "gpt"}}],
    },
    # As text, as it is copied from elsewhere.
    "pc-text": '{"override_params": {"model": "claude"}}',
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, model=name, **settings)

    config = make_config(
        make_model("gpt", at("gpt")),
        make_model("gpt-4o", at("gpt-4o")),
        make_model("claude", at("claude")),
        make_model("small", at("small")),
        make_model("broken", at("broken", "status=500")),
        make_model("limited", at("limited", "status=429")),
        make_model("wrong", at("wrong", "status=400")),
        make_model("slow", at("slow", "latency=3s")),
        make_model("gone", make_deployment("http://127.0.0.1:9")),
        make_model("third", at("third", "fail_first=2;id=config-third")),
        make_model("two", at("two-a", id="two-a"), at("two-b", id="two-b")),
        make_model("smart", at("smart"), routing={"conditions": [
            {"when": {"metadata.plan": "paid"}, "then": "gpt-4o"},
            {"when": '{"$or": [{"tokens.input": {"$gt": 1000}}, {"headers.x-long": "yes"}]}',
             "then": "claude"},
            {"when": {"$not": {"params.temperature": {"$exists": False}}, "params.temperature": {"$gte": 1}},
             "then": "small"},
            {"when": {"user": {"$regex": "^vip-"}}, "then": "hop"},
        ]}),
        make_model("hop", at("hop"), routing={"conditions": [{"when": {"stream": False}, "then": "smart"}]}),
        routing={"configs": SAVED},
    )  # fmt: skip
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway,
    key: Key,
    model: str,
    config: dict[str, Any] | str | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> httpx.Response:
    sent = {**key.bearer, **(headers or {})}
    if config is not None:
        sent["x-portkey-config"] = config if isinstance(config, str) else json.dumps(config)
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=sent)


@pytest.mark.parametrize(
    ("more", "served"),
    [
        ({}, "smart"),
        ({"metadata": {"plan": "paid"}}, "gpt-4o"),
        ({"headers": {"x-portkey-metadata": '{"plan": "paid"}'}}, "gpt-4o"),
        ({"metadata": {"plan": "free"}}, "smart"),
        ({"text": "x" * 8000}, "claude"),
        ({"headers": {"x-long": "yes"}}, "claude"),
        ({"temperature": 1.5}, "small"),
        ({"temperature": 0.5}, "smart"),
        # The other sends it back, and nobody is asked twice.
        ({"user": "vip-1"}, "hop"),
    ],
)
def test_conditions(gateway: Gateway, key: Key, more: dict[str, Any], served: str) -> None:
    answer = ask(gateway, key, "smart", **more)
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, served)


def test_a_condition_does_not_lend_permission(gateway: Gateway) -> None:
    key = gateway.mint(models=["smart"])
    assert ask(gateway, key, "smart", metadata={"plan": "paid"}).headers["x-ailink-model"] == "smart"


class Case(NamedTuple):
    """A config, what is asked, and what comes of it."""

    config: dict[str, Any] | str
    model: str = "gpt"
    status: int = 200
    served: str = "gpt"
    index: str = "config"
    more: dict[str, Any] = {}


def to(model: str, **more: Any) -> dict[str, Any]:
    return {"override_params": {"model": model}, **more}


def tree(mode: str, *targets: dict[str, Any], **strategy: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **strategy}, "targets": list(targets)}


RULES = [
    {"query": {"metadata.user_plan": {"$eq": "paid"}}, "then": "finetuned"},
    {"query": {"$and": [{"metadata.tier": {"$in": ["a", "b"]}}, {"params.temperature": {"$lt": 1}}]},
     "then": "base"},
    {"query": {"params.model": {"$regex": "^smart"}}, "then": "smart"},
]  # fmt: skip
CONDITIONAL = tree(
    "conditional", to("gpt-4o", name="finetuned"), to("small", name="base"), to("claude", name="smart"),
    conditions=RULES, default="base",
)  # fmt: skip
CASES = {
    "nothing but a timeout": Case({"request_timeout": 20000}),
    "a model": Case(to("claude"), served="claude"),
    "camel case": Case({"overrideParams": {"model": "claude"}}, served="claude"),
    "a provider": Case({"provider": "mock"}),
    "a provider's slug": Case({"provider": "@mock"}),
    "a virtual key": Case({"virtual_key": "mock"}),
    "a provider in the model": Case({}, model="@mock/gpt"),
    "a provider in the override": Case(to("@mock/claude"), served="claude"),
    "one deployment": Case({"provider": "two-b"}, model="two", served="two"),
    "single": Case(tree("single", to("claude"), to("gpt")), served="claude", index="config.targets[0]"),
    "fallback": Case(tree("fallback", to("broken"), to("gpt")), index="config.targets[1]"),
    "fallback not needed": Case(tree("fallback", to("gpt"), to("claude")), index="config.targets[0]"),
    "fallback on a bad request": Case(tree("fallback", to("wrong"), to("gpt")), index="config.targets[1]"),
    "fallback on 429": Case(
        tree("fallback", to("limited"), to("gpt"), on_status_codes=[429]), index="config.targets[1]"
    ),
    "fallback on another": Case(
        tree("fallback", to("broken"), to("gpt"), on_status_codes=[429]), status=500, served="broken",
        index="config.targets[0]",
    ),
    "fallback on a time-out": Case(
        {**tree("fallback", to("slow"), to("gpt"), on_status_codes=[408]), "request_timeout": 300},
        index="config.targets[1]",
    ),
    "a time-out of the target": Case(
        tree("fallback", to("slow", request_timeout=300), to("gpt")), index="config.targets[1]"
    ),
    "fallback on no connection": Case(
        tree("fallback", to("gone"), to("gpt"), on_status_codes=[500]), index="config.targets[1]"
    ),
    "the last one's error": Case(
        tree("fallback", to("limited"), to("broken")), status=500, served="broken", index="config.targets[1]"
    ),
    "nested: inner first": Case(
        tree("fallback", tree("fallback", to("broken"), to("claude")), to("gpt")), served="claude",
        index="config.targets[0].targets[1]",
    ),
    "nested: then outer": Case(
        tree("fallback", tree("fallback", to("broken"), to("limited")), to("gpt")), index="config.targets[1]"
    ),
    "nested: inner codes do not match": Case(
        tree("fallback", tree("fallback", to("broken"), to("claude"), on_status_codes=[429]), to("gpt")),
        index="config.targets[1]",
    ),
    "load balance within fallback": Case(
        tree("fallback", tree("loadbalance", to("broken", weight=1), to("claude", weight=0)), to("gpt")),
        index="config.targets[1]",
    ),
    "load balance": Case(
        tree("loadbalance", to("claude", weight=1), to("gpt", weight=0)), served="claude",
        index="config.targets[0]",
    ),
    "conditional: metadata": Case(
        CONDITIONAL, served="gpt-4o", index="config.targets[0]", more={"metadata": {"user_plan": "paid"}}
    ),
    "conditional: and": Case(
        CONDITIONAL, served="small", index="config.targets[1]",
        more={"metadata": {"tier": "b"}, "temperature": 0.2},
    ),
    "conditional: model": Case(CONDITIONAL, model="smart", served="claude", index="config.targets[2]"),
    "conditional: default": Case(CONDITIONAL, served="small", index="config.targets[1]"),
    "conditional into fallback": Case(
        tree("conditional", {**tree("fallback", to("broken"), to("claude")), "name": "both"},
             conditions=[{"query": {"params.model": "gpt"}, "then": "both"}]),
        served="claude", index="config.targets[0].targets[1]",
    ),
    "retry": Case({**to("third"), "retry": {"attempts": 3, "on_status_codes": [500]}}, served="third"),
    "no retry of another status": Case(
        {**to("broken"), "retry": {"attempts": 3, "on_status_codes": [429]}}, status=500, served="broken"
    ),
    "cache": Case({"cache": {"mode": "simple", "max_age": 60}}),
    "saved": Case("pc-fallback", index="config.targets[1]"),
    "saved as text": Case("pc-text", served="claude"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_documented_configs(gateway: Gateway, key: Key, name: str) -> None:
    case = CASES[name]
    answer = ask(gateway, key, case.model, case.config, **case.more)
    assert answer.status_code == case.status, answer.text
    assert answer.headers["x-ailink-model"] == case.served
    assert answer.headers["x-portkey-last-used-option-index"] == case.index


def test_retries_are_counted(gateway: Gateway, key: Key) -> None:
    config = {**to("broken"), "retry": {"attempts": 1, "on_status_codes": [500]}}
    answer = ask(gateway, key, "gpt", config, {"x-portkey-trace-id": "trace-1"})
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (500, "2")
    assert answer.headers["x-portkey-retry-attempt-count"] == "-1"
    assert answer.headers["x-portkey-trace-id"] == "trace-1"


def test_parameters(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    config = {
        **tree("fallback", {**to("broken"), "default_params": {"top_p": 0.5}},
               {"override_params": {"temperature": 0.1}, "drop_params": ["seed", "metadata.internal"]}),
        "override_params": {"temperature": 0.9, "max_tokens": 5}, "default_params": {"seed": 1, "stop": "x"},
    }  # fmt: skip
    mark = provider.mark()
    ask(gateway, key, "gpt", config, seed=7, metadata={"internal": "a", "b": "c"}).raise_for_status()
    first, second = (seen.json() for seen in provider.requests(mark))
    assert (first["temperature"], first["max_tokens"], first["seed"], first["top_p"]) == (0.9, 5, 7, 0.5)
    assert (second["temperature"], second["max_tokens"], second["stop"]) == (0.1, 5, "x")
    assert "seed" not in second
    assert "top_p" not in second
    assert second["metadata"] == {"b": "c"}


def test_load_is_balanced_by_weight(gateway: Gateway, key: Key) -> None:
    config = tree("loadbalance", to("gpt", weight=0.75), to("claude", weight=0.25))
    seen = Counter(ask(gateway, key, "gpt", config).headers["x-ailink-model"] for _ in range(200))
    # Three standard deviations.
    assert 132 <= seen["gpt"] <= 168, seen
    sticky = tree(
        "loadbalance", to("gpt"), to("claude"), sticky={"enabled": True, "hash_fields": ["metadata.u"]}
    )
    for user in "abcdef":
        served = {
            ask(gateway, key, "gpt", sticky, metadata={"u": user}).headers["x-ailink-model"] for _ in range(4)
        }
        assert len(served) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "not valid JSON"),
        ("pc-unknown", "No config is saved under the name 'pc-unknown'"),
        (tree("loadbalance", {"weight": 0}), "config.strategy: the weights sum to zero"),
        (tree("random", {}), "config.strategy.mode: unknown strategy `random`"),
        ({"strategy": {"mode": "fallback"}}, "config.strategy: a strategy needs `targets`"),
        (tree("fallback", {}, on_status_code=[1]), "did you mean `on_status_codes`"),
        ({"drop_params": ["tools[x]"]}, "config.drop_params: expected paths"),
        ({"passthrough": "yes"}, "config.passthrough: expected true or false"),
        ({"targets": [{}]}, "config: `targets` need a `strategy`"),
        ({"api_key": "sk-theirs"}, "config.api_key: credentials and addresses are the gateway's"),
        ({"custom_host": "http://169.254.169.254"}, "config.custom_host: credentials"),
        ({"input_guardrails": [{"default.contains": {}}]},
         "config.input_guardrails[0].checks[0].default.contains.words: names none"),
        ({"cache": {"mode": "clever"}}, "config.cache.mode"),
        ({"retry": {}}, "config.retry.attempts"),
        ({"overide_params": {"a": 1}}, "did you mean `override_params`"),
        (tree("conditional", to("gpt", name="a"),
              conditions=[{"query": {"params.x": {"$is": 1}}, "then": "a"}]),
         "config.strategy.conditions[0].query.params.x.$is: unknown operator `$is`"),
        (tree("conditional", to("gpt", name="a"), conditions=[{"query": {"params.x": 1}, "then": "b"}]),
         "no target is named `b`"),
        (tree("conditional", to("gpt", name="a"), conditions=[{"query": {"params.x": 1}, "then": "a"}]),
         "No condition of config holds, and it has no default"),
        ({"provider": "elsewhere"}, "has no deployment at 'elsewhere'"),
    ],
)  # fmt: skip
def test_bad_configs(gateway: Gateway, key: Key, provider: MockProvider, config: Any, message: str) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "gpt", config)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]["message"]
    assert provider.requests(mark) == []


def test_a_config_does_not_lend_permission(gateway: Gateway) -> None:
    key = gateway.mint(models=["gpt", "broken"])
    answer = ask(gateway, key, "gpt", to("claude"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_access_denied")
    assert ask(gateway, key, "gpt", to("unknown")).status_code == 404
    assert ask(gateway, key, "gpt", tree("fallback", to("broken"), to("claude"))).status_code == 403


def test_streams(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "gpt", tree("fallback", to("broken"), to("claude")), stream=True)
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "claude")
    assert answer.text.endswith("data: [DONE]\n\n")
