"""Active health checks, engines that tell how busy they are, and strategies written in Python."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.cluster import Cluster
from tests.harness.double import Double

from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.providers import Registry

ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}  # fmt: skip
SOON = {"every": "200ms", "timeout": "5s", "failing": 2, "passing": 2}
PRICE = {"input_per_million": 10, "output_per_million": 10}
STRATEGIES = """
import time
from ailink.plugins import Strategy

class Favourite(Strategy):
    async def weights(self, model, places):
        assert all(place.state in {"closed", "open", "half_open"} for place in places)
        return {self.options["take"]: 2.5}

class Broken(Strategy):
    async def weights(self, model, places):
        raise RuntimeError("no idea")

class Slow(Strategy):
    async def weights(self, model, places):
        time.sleep(0.3)
        return {}
"""


def vllm(running: int, waiting: int, cache: float) -> str:
    return (
        f'vllm:num_requests_running{{model_name="m"}} {running}.0\n'
        f'vllm:num_requests_waiting{{model_name="m"}} {waiting}.0\n'
        f'vllm:kv_cache_usage_perc{{model_name="m"}} {cache}\n'
    )


@pytest.fixture(scope="module")
def doubles() -> Iterator[dict[str, Double]]:
    names = ("listed", "pathed", "by-path-good", "asked", "engine-a", "engine-b", "only")
    found = {name: Double() for name in names}
    for one in found.values():
        one.answers = {
            "/v1/models": {"object": "list", "data": []},
            "/health": "fine",
            "/v1/chat/completions": ANSWER,
            "/metrics": vllm(1, 0, 0.1),
        }
        one.__enter__()
    yield found
    for one in found.values():
        one.__exit__()


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, doubles: dict[str, Double], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    (directory / "our_strategies.py").write_text(STRATEGIES)

    def at(name: str, **settings: Any) -> dict[str, Any]:
        return make_deployment(doubles[name].url, id=name, **settings)

    def good(name: str) -> dict[str, Any]:
        return make_deployment(provider, id=name, model=name)

    def custom(name: str, spec: str, **more: Any) -> dict[str, Any]:
        rules = {"plugin": f"our_strategies:{spec}", "every": "200ms", "timeout": "100ms", **more}
        return make_model(name, good(f"{name}-1"), good(f"{name}-2"),
                          routing={"strategy": "custom", "custom": rules})  # fmt: skip

    config = make_config(
        make_model("by-list", at("listed"), good("by-list-good"), routing={"health_check": SOON}),
        make_model("by-path", at("pathed"), at("by-path-good"),
                   routing={"health_check": {**SOON, "path": "/health"}}),
        make_model("by-request", at("asked", price=PRICE),
                   routing={"health_check": {**SOON, "by": "request"}}),
        make_model("alone", at("only"), routing={"health_check": {**SOON, "path": "/health"}}),
        make_model("engines", at("engine-a"), at("engine-b"), routing={
            "strategy": "engine_load", "engine": {"every": "200ms", "stale": "3s"}
        }),
        custom("favoured", "Favourite", options={"take": "favoured-2"}),
        custom("broken", "Broken", otherwise="round_robin"),
        custom("slow", "Slow"),
        server={"threads": 2},
    )  # fmt: skip
    with Gateway(directory, config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer)


def served(gateway: Gateway, key: Key, model: str, count: int = 10) -> Counter[str]:
    answers = [ask(gateway, key, model).raise_for_status() for _ in range(count)]
    return Counter(answer.headers["x-ailink-deployment"] for answer in answers)


def health(gateway: Gateway, name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = gateway.call("/health/deployments")["data"]
    return next(row for row in rows if row["deployment"] == name)


def is_checked(gateway: Gateway, name: str, state: str) -> bool:
    return bool(health(gateway, name)["check"]["state"] == state)


@pytest.mark.parametrize(
    ("name", "model", "path"), [("listed", "by-list", "/v1/models"), ("pathed", "by-path", "/health")]
)
def test_a_deployment_is_left_out_before_a_caller_finds_out(
    gateway: Gateway, key: Key, doubles: dict[str, Double], name: str, model: str, path: str
) -> None:
    double = doubles[name]
    until(lambda: is_checked(gateway, name, "passing"))
    assert name in served(gateway, key, model, 20)
    double.statuses[path] = 503
    until(lambda: is_checked(gateway, name, "failing"))
    row = health(gateway, name)
    assert (row["state"], row["cause"], row["check"]["fault"]) == ("open", "health_check", "status 503")
    assert set(served(gateway, key, model)) == {f"{model}-good"}
    # It stays out as long as they fail.
    checks = row["check"]["failed"]
    until(lambda: health(gateway, name)["check"]["failed"] > checks + 3)
    assert health(gateway, name)["state"] == "open"
    metrics = gateway.http.get("/metrics").text
    assert f'ailink_health_check_failing{{deployment="{name}"}} 1' in metrics
    assert 'kind="health_check"' in metrics
    del double.statuses[path]
    until(lambda: health(gateway, name)["state"] == "closed")
    assert is_checked(gateway, name, "passing")
    # None of it was traffic.
    asked = [seen for seen in double.take() if seen.path == path]
    assert len(asked) > 5
    assert not [row for row in gateway.spend_logs() if row["model_group"] == model and row["kind"] == "check"]


def test_requests_of_checks_cost_and_say_so(gateway: Gateway, key: Key, doubles: dict[str, Double]) -> None:
    rows = until(
        lambda: [row for row in gateway.spend_logs() if row["model_group"] == "by-request"],
        "rows in the ledger",
    )
    assert {row["kind"] for row in rows} == {"check"}
    assert float(rows[0]["spend"]) == pytest.approx(60e-6)
    assert {row["api_key"] for row in rows} == {None}
    body = doubles["asked"].take()[0].body
    assert (body["max_tokens"], body["model"]) == (1, "upstream-model")
    # Neither requests nor latencies of the deployment move.
    row = health(gateway, "asked")
    assert (row["requests"], row["in_flight"]) == (0, 0)
    assert 'ailink_attempts_total{deployment="asked"' not in gateway.http.get("/metrics").text
    # Busy is not ill.
    doubles["asked"].statuses["/v1/chat/completions"] = 429
    before = health(gateway, "asked")["check"]
    until(lambda: health(gateway, "asked")["check"]["ago_ms"] < 200)
    assert health(gateway, "asked")["check"]["failed"] == before["failed"]
    del doubles["asked"].statuses["/v1/chat/completions"]


def test_the_only_deployment_stays(gateway: Gateway, key: Key, doubles: dict[str, Double]) -> None:
    doubles["only"].statuses["/health"] = 500
    until(lambda: is_checked(gateway, "only", "failing"))
    assert health(gateway, "only")["state"] == "closed"
    assert ask(gateway, key, "alone").status_code == 200
    del doubles["only"].statuses["/health"]


def test_the_engine_with_the_least_to_do(gateway: Gateway, key: Key, doubles: dict[str, Double]) -> None:
    a, b = doubles["engine-a"], doubles["engine-b"]

    def told(name: str, running: int) -> bool:
        return bool(health(gateway, name)["engine"]["running"] == running)

    a.answers["/metrics"], b.answers["/metrics"] = vllm(30, 0, 0.2), vllm(2, 1, 0.2)
    until(lambda: told("engine-a", 30) and told("engine-b", 2))
    assert served(gateway, key, "engines") == {"engine-b": 10}
    # A queue counts, and so does a cache that is nearly full.
    b.answers["/metrics"] = vllm(2, 50, 0.2)
    until(lambda: health(gateway, "engine-b")["engine"]["waiting"] == 50)
    assert served(gateway, key, "engines") == {"engine-a": 10}
    a.answers["/metrics"], b.answers["/metrics"] = vllm(5, 0, 0.99), vllm(9, 0, 0.1)
    until(lambda: told("engine-a", 5) and told("engine-b", 9))
    assert served(gateway, key, "engines") == {"engine-b": 10}
    assert 'ailink_engine_cache_percent{deployment="engine-a"} 99' in gateway.http.get("/metrics").text
    # Metrics that are gone say nothing after a while: requests in flight count, and here there are none.
    a.statuses["/metrics"] = b.statuses["/metrics"] = 500
    until(lambda: health(gateway, "engine-a")["engine"]["running"] is None)
    until(lambda: health(gateway, "engine-b")["engine"]["running"] is None)
    assert set(served(gateway, key, "engines", 20)) == {"engine-a", "engine-b"}
    a.statuses.clear()
    b.statuses.clear()


def test_a_strategy_of_ones_own(gateway: Gateway, key: Key) -> None:
    until(lambda: served(gateway, key, "favoured") == {"favoured-2": 10})
    assert set(served(gateway, key, "broken")) == {"broken-1", "broken-2"}
    assert set(served(gateway, key, "slow", 20)) == {"slow-1", "slow-2"}
    metrics = until(
        lambda: (text := gateway.http.get("/metrics").text) and 'model="slow",result="late"' in text and text
    )
    assert 'ailink_custom_strategy_total{model="broken",result="failed"}' in metrics
    assert 'ailink_strategy_otherwise_total{model="broken"} ' in metrics
    assert 'ailink_strategy_otherwise_total{model="slow"} ' in metrics


def test_refused_when_loaded(tmp_path: Path) -> None:
    for routing, deployment, path in [
        ({"strategy": "custom"}, {}, "models[0].routing.strategy"),
        ({"health_check": {"every": "10ms"}}, {}, "models[0].routing.health_check.every"),
        ({"health_check": {"path": "health"}}, {}, "models[0].routing.health_check.path"),
        ({"regions_only": True}, {}, "models[0].routing.regions_only"),
        ({}, {"api_keys": ["one", "two"]}, "models[0].deployments[0].api_keys"),
        ({}, {"capabilities": ["magic"]}, "models[0].deployments[0].capabilities[0]"),
    ]:
        model = make_model("m", make_deployment("http://127.0.0.1:9", **deployment), routing=routing)
        file = tmp_path / "ailink.yaml"
        file.write_text(json.dumps(make_config(model)))
        with pytest.raises(ConfigError) as refused:
            loader.load(file, Registry.builtin(), {})
        assert path in [problem.path for problem in refused.value.problems]


@pytest.mark.skipif(os.environ.get("AILINK_FULL") != "1", reason="slow: AILINK_FULL=1")
def test_one_of_several_nodes_checks(
    provider: MockProvider, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with Double() as double:
        double.answers = {"/health": "fine"}
        model = make_model(
            "m", make_deployment(double.url, id="watched"), make_deployment(provider, id="other"),
            routing={"health_check": {**SOON, "path": "/health"}},
        )  # fmt: skip
        with Cluster(
            tmp_path, make_config(model), nodes=2, database_url=database_url, redis_urls=[redis_url]
        ) as cluster:

            def states() -> list[str]:
                rows = [cluster.call("/health/deployments", node=node)["data"] for node in (0, 1)]
                return [
                    one["check"]["state"] for row in rows for one in row if one["deployment"] == "watched"
                ]

            until(lambda: states() == ["passing"] * 2)
            double.statuses["/health"] = 500
            until(lambda: states() == ["failing"] * 2)
            rows = [cluster.call("/health/deployments", node=node)["data"] for node in (0, 1)]
            assert [row[0]["state"] for row in rows] == ["open", "open"]
            # Only one of them has made any.
            metrics = [node.http.get("/metrics").text for node in cluster.nodes]
            made = [
                'ailink_health_checks_total{deployment="watched",result="fail"} 0' not in text
                for text in metrics
            ]
            assert sorted(made) == [False, True]
