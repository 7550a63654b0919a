"""Portkey's documented config objects: what providers were asked, and what the answer's headers say."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
)
from tests.harness.meaning import write_static_model

ROWS = yaml.safe_load((Path(__file__).parents[1] / "data" / "portkey_configs.yaml").read_text())
FAILING = {
    "broken": "status=500", "overloaded": "status=503", "limited": "status=429;retry_after=0",
    "wrong": "status=400", "stranger": "status=401", "slow": "latency=2s",
    "flaky-1": "fail_first=2;id=portkey-flaky-1",
    "hurried": "fail_first=1;status=429;header=retry-after-ms:50;id=portkey-hurried",
}  # fmt: skip
SAVED = {
    "pc-fallback": {
        "strategy": {"mode": "fallback"},
        "targets": [{"override_params": {"model": "broken"}}, {"override_params": {"model": "gpt"}}],
    },
    "pc-text": '{"override_params": {"model": "claude"}}',
}
COUNT = 120


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def model(name: str, script: str = "") -> dict[str, Any]:
        # Every request has to be seen, so nobody is left out for what others died of.
        return make_model(name, make_deployment(provider, script, model=name))

    meaning = write_static_model(tmp_path_factory.mktemp("meaning"))
    config = make_config(
        *map(model, ("gpt", "gpt-4o", "claude", "small", "long", "creative")),
        *(model(name, script) for name, script in FAILING.items()),
        make_model("gone", make_deployment("http://127.0.0.1:9")),
        make_model("two", *(make_deployment(provider, model=f"two-{n}", id=f"two-{n}") for n in "ab")),
        routing={
            "configs": SAVED,
            "breaker": {"open": "0s"},
            "retry": {"backoff": "20ms", "backoff_max": "20ms"},
        },
        cache={
            "enabled": True,
            "mode": "opt_in",
            "semantic": {"directory": str(meaning), "threshold": 0.9, "mode": "opt_in"},
        },
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def send(gateway: Gateway, key: Key, row: dict[str, Any]) -> httpx.Response:
    headers = {**key.bearer, **row.get("headers", {})}
    if (config := row.get("config")) is not None:
        headers["x-portkey-config"] = config if isinstance(config, str) else json.dumps(config)
    body = chat(row.get("model", "gpt"), row.get("text", "hello"), **row.get("body", {}))
    return gateway.http.post("/v1/chat/completions", json=body, headers=headers)


def asked(provider: MockProvider, mark: int) -> list[str]:
    return [seen.json()["model"].split("?")[0] for seen in provider.requests(mark)]


def member(body: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(body, list):
            body = body[int(name)]
        elif (body := body.get(name)) is None:
            return None
    return body


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_documented_configs(gateway: Gateway, key: Key, provider: MockProvider, row: dict[str, Any]) -> None:
    if "shares" in row:
        fair(gateway, key, provider, row)
        return
    begun = provider.mark()
    for _ in range(row.get("repeat", 1)):
        mark = provider.mark()
        answer = send(gateway, key, row)
    assert answer.status_code == row.get("status", 200), answer.text
    if row.get("same"):
        assert len(set(asked(provider, begun))) == 1
        return
    assert asked(provider, mark) == row["asked"]
    for path, value in row.get("sent", {}).items():
        assert member(provider.requests(mark)[-1].json(), path) == value, path
    told = {
        "option": "last-used-option-index", "retries": "retry-attempt-count", "cache": "cache-status",
        "provider": "provider", "trace": "trace-id",
    }  # fmt: skip
    for name, header in told.items():
        if name in row:
            assert answer.headers[f"x-portkey-{header}"] == row[name], name


def fair(gateway: Gateway, key: Key, provider: MockProvider, row: dict[str, Any]) -> None:
    """Targets get their shares; the bound is exceeded once in 10,000 runs (chi-squared, two degrees)."""
    mark = provider.mark()
    in_parallel(lambda _: send(gateway, key, row).raise_for_status(), range(COUNT), threads=8)
    seen = Counter(asked(provider, mark))
    assert seen.keys() <= row["shares"].keys()
    off = sum((seen[name] - COUNT * part) ** 2 / (COUNT * part) for name, part in row["shares"].items())
    assert off < 18.4, seen


def test_the_table_is_whole() -> None:
    names = [row["name"] for row in ROWS]
    assert len(set(names)) == len(names) >= 80
    assert all({"asked", "shares", "same"} & row.keys() for row in ROWS)
    text = json.dumps(ROWS)
    operators = ("$eq", "$ne", "$in", "$nin", "$regex", "$gt", "$gte", "$lt", "$lte", "$and", "$or")
    assert [name for name in operators if f'"{name}"' not in text] == []


def test_targets_are_redrawn_for_others(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    sticky = next(row for row in ROWS if row.get("same"))
    mark = provider.mark()
    for user in range(24):
        send(gateway, key, {**sticky, "headers": {"x-portkey-metadata": json.dumps({"user_id": f"u{user}"})}})
    assert set(asked(provider, mark)) == {"gpt", "claude"}


def test_the_key_in_portkeys_header(gateway: Gateway, key: Key) -> None:
    """Their clients put a provider's key, or none that means anything, into `Authorization`."""
    body = chat("gpt")
    for headers in ({}, {"authorization": "Bearer sk-of-a-provider"}, {"api-key": "x"}):
        sent = {**headers, "x-portkey-api-key": key.secret}
        answer = gateway.http.post("/v1/chat/completions", json=body, headers=sent)
        assert answer.status_code == 200, answer.text
    wrong = {"authorization": "Bearer sk-of-a-provider", "x-portkey-api-key": "sk-unknown"}
    assert gateway.http.post("/v1/chat/completions", json=body, headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"x-portkey-provider": "elsewhere"}, "has no deployment at 'elsewhere'"),
        ({"x-portkey-request-timeout": "soon"}, "'x-portkey-request-timeout' cannot be used"),
        ({"x-portkey-default-input-guardrails": "{"}, "'x-portkey-default-input-guardrails' cannot be used"),
        ({"x-portkey-default-output-guardrails": '[{"default.nothing": {}}]'}, "nothing"),
    ],
)
def test_bad_headers(
    gateway: Gateway, key: Key, provider: MockProvider, headers: dict[str, str], message: str
) -> None:
    mark = provider.mark()
    answer = send(gateway, key, {"headers": headers})
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]["message"]
    assert provider.requests(mark) == []
