"""LiteLLM's router settings as they are documented: for each what providers were asked."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.harness import Background, Gateway, Key, MockProvider, chat, in_parallel, until

ROWS = yaml.safe_load((Path(__file__).parents[1] / "data" / "litellm_router.yaml").read_text())
COUNT = 120
PLAIN: dict[str, Any] = {"models": [["m", "plain"]]}


def file_of(provider: MockProvider, row: dict[str, Any], mark: str) -> dict[str, Any]:
    """The file of a row; its deployments are its own, so that nothing is known of them."""

    def entry(
        name: str, model: str, params: dict[str, Any] | None = None, info: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        upstream, _, script = model.partition("?")
        script = ";".join(filter(None, (script, f"id={mark}-{upstream}")))
        base = {"model": f"openai/{upstream}?{script}", "api_base": f"{provider.url}/v1", "api_key": "sk-x"}
        return {"model_name": name, "litellm_params": base | (params or {}), "model_info": info or {}}

    return {**row.get("file", {}), "model_list": [entry(*model) for model in row["models"]]}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), file_of(provider, PLAIN, "plain")) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def send(gateway: Gateway, key: Key, request: dict[str, Any]) -> httpx.Response:
    headers = {**key.bearer, "x-ailink-explain": "1", **request.get("headers", {})}
    body = chat(request.get("model", "m"), **request.get("body", {}))
    return gateway.http.post("/v1/chat/completions", json=body, headers=headers)


def asked(provider: MockProvider, mark: int) -> list[str]:
    return [seen.json()["model"].split("?")[0] for seen in provider.requests(mark)]


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: ROWS[number]["name"])
def test_router_settings(gateway: Gateway, key: Key, provider: MockProvider, number: int) -> None:
    row = ROWS[number]
    gateway.reconfigure(file_of(provider, row, f"row-{number}"))
    for request in row["requests"]:
        if "shares" in request:
            fair(gateway, key, provider, request)
        else:
            behaves(gateway, key, provider, request)


def behaves(gateway: Gateway, key: Key, provider: MockProvider, request: dict[str, Any]) -> None:
    for _ in range(request.get("times", 1)):
        mark = provider.mark()
        answer = send(gateway, key, request)
        assert answer.status_code == request.get("status", 200), answer.text
        expected = request.get("asked")
        if expected and isinstance(expected[0], list):
            # In any order; a mirror is asked beside.
            until(lambda: sorted(asked(provider, mark)) == sorted(request["asked"][0]))  # noqa: B023
        elif expected is not None:
            assert asked(provider, mark) == expected
    if "served" in request:
        assert answer.headers["x-ailink-model"] == request["served"]
    if "strategy" in request:
        [choice] = json.loads(answer.headers["x-ailink-decision"])["choices"]
        assert choice["strategy"] == request["strategy"]
    if "text" in request:
        assert request["text"] in answer.json()["error"]["message"]
        assert request["status"] != 429 or int(answer.headers["retry-after"]) > 0
    if "state" in request:
        first = gateway.call("/health/deployments", model="m")["data"][0]
        assert first["state"] == request["state"], first


def fair(gateway: Gateway, key: Key, provider: MockProvider, request: dict[str, Any]) -> None:
    """Deployments get their shares; the bound is exceeded once in 10,000 runs (chi-squared, two degrees)."""
    mark = provider.mark()
    in_parallel(lambda _: send(gateway, key, request).raise_for_status(), range(COUNT), threads=8)
    seen = Counter(asked(provider, mark))
    assert seen.keys() <= request["shares"].keys()
    off = sum((seen[name] - COUNT * part) ** 2 / (COUNT * part) for name, part in request["shares"].items())
    assert off < 18.4, seen


@pytest.mark.parametrize("by", ["max_parallel_requests", "default_max_parallel_requests"])
def test_parallel_requests(gateway: Gateway, key: Key, provider: MockProvider, by: str) -> None:
    """A deployment that has as many as it may is passed over for the next."""
    one = {"order": 1} | ({by: 1} if by == "max_parallel_requests" else {})
    row = {
        "file": {"router_settings": {"num_retries": 0} | ({by: 1} if by.startswith("default") else {})},
        "models": [["m", "first?latency=600ms", one], ["m", "second", {"order": 2}]],
    }
    gateway.reconfigure(file_of(provider, row, by))
    mark = provider.mark()
    with Background(lambda: send(gateway, key, {}), threads=1):
        until(lambda: asked(provider, mark)[:1] == ["first"])
        answer = send(gateway, key, {})
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (200, "1")
    assert "second" in asked(provider, mark)


def test_what_has_no_effect_is_told(gateway: Gateway, provider: MockProvider) -> None:
    settings = {
        "allowed_fails_policy": {"SomeErrorAllowedFails": 3}, "routing_groups": [], "retry_after": 5,
        "optional_pre_call_checks": ["prompt_caching"],
        "routing_strategy_args": {"ttl": 60},
    }  # fmt: skip
    gateway.reconfigure(file_of(provider, {**PLAIN, "file": {"router_settings": settings}}, "told"))
    told = [line for line in gateway.log.splitlines() if "has no effect" in line]
    for name in (*settings, "prompt_caching", "ttl", "SomeErrorAllowedFails"):
        if name not in ("optional_pre_call_checks", "routing_strategy_args", "allowed_fails_policy"):
            assert any(f"`{name}`" in line for line in told), (name, told)
