"""Requests that go to a mirror too: nobody waits for it, nobody pays for it, and it is compared."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)

PRICE = {"input_per_million": 1, "output_per_million": 10}
DEAR = {"input_per_million": 2, "output_per_million": 20}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, id=name, model=name, price=PRICE, **settings)

    def mirrored(name: str, target: str, **mirror: Any) -> dict[str, Any]:
        return make_model(name, at(name), routing={"mirror": {"model": target, **mirror}})

    config = make_config(
        mirrored("all", "shadow"),
        mirrored("billed", "shadow", bill=True),
        mirrored("slow", "slow-shadow"),
        mirrored("stuck", "stuck-shadow", in_flight=2),
        mirrored("broken", "broken-shadow"),
        mirrored("claude", "claude-shadow"),
        mirrored("part", "shadow", percent=30, hash_on=["session"]),
        make_model("shadow", {**at("shadow"), "price": DEAR}),
        make_model("slow-shadow", at("slow-shadow", "latency=6s")),
        make_model("stuck-shadow", at("stuck-shadow", "latency=5s")),
        make_model("broken-shadow", at("broken-shadow", "status=500"), fallbacks=["shadow"]),
        make_model("claude-shadow", make_deployment(provider, dialect="anthropic", id="claude-shadow")),
        server={"threads": 2},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway, key: Key, model: str, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    return gateway.http.post(
        "/v1/chat/completions", json=chat(model, **more), headers={**key.bearer, **(headers or {})}
    )


def logs(gateway: Gateway, model: str) -> list[dict[str, Any]]:
    return [row for row in gateway.spend_logs() if row["model_group"] == model]


def comparison(gateway: Gateway, model: str, pairs: int) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        data = gateway.call("/routing/mirrors", model=model)["data"]
        return data[0] if data and data[0]["pairs"] >= pairs else None

    return until(found, "the comparison is there", 20)


@pytest.mark.parametrize("stream", [False, True])
def test_the_mirror_gets_the_request_and_nobody_pays(
    gateway: Gateway, provider: MockProvider, stream: bool
) -> None:
    key = gateway.mint(models=["all"], max_budget=1.0)
    mark = provider.mark()
    answer = ask(gateway, key, "all", stream=stream)
    assert answer.headers["x-ailink-deployment"] == "all"
    if stream:
        assert events_of(answer.content)[-1].done
    seen = until(lambda: provider.requests(mark) if len(provider.requests(mark)) == 2 else None, "both asked")
    assert Counter(one.json()["model"] for one in seen) == {"all": 1, "shadow": 1}
    first, second = (one.json()["messages"] for one in seen)
    assert first == second

    def settled() -> list[dict[str, Any]]:
        return [row for row in logs(gateway, "shadow") if row["stream"] == stream]

    row = until(settled, "the mirror's row")[-1]
    assert (row["kind"], row["api_key"], row["status"]) == ("mirror", None, "success")
    own = gateway.attempts_of(answer.headers["x-request-id"], 1)[0]
    assert (own["kind"], own["model_id"]) == ("request", "all")
    assert float(row["spend"]) == pytest.approx(2 * float(own["spend"]), rel=0.02)
    info = gateway.call("/key/info", key=key.token)["info"]
    assert info["spend"] == pytest.approx(float(own["spend"]))


def test_a_mirror_that_is_to_be_paid_for(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(models=["billed"])
    mark = provider.mark()
    answer = ask(gateway, key, "billed")
    until(lambda: len(provider.requests(mark)) == 2, "both asked")
    own = gateway.attempts_of(answer.headers["x-request-id"], 1)[0]

    def spent() -> bool:
        info = gateway.call("/key/info", key=key.token)["info"]
        return bool(info["spend"] == pytest.approx(3 * float(own["spend"]), rel=0.02))

    until(spent, "both are paid for")


def test_nobody_waits(gateway: Gateway, key: Key) -> None:
    ask(gateway, key, "slow").raise_for_status()
    begun = time.monotonic()
    ask(gateway, key, "slow").raise_for_status()
    assert time.monotonic() - begun < 5


def test_no_more_than_may_be_are_under_way(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    in_parallel(lambda _: ask(gateway, key, "stuck").raise_for_status(), range(20), threads=4)
    asked = Counter(seen.json()["model"] for seen in provider.requests(mark))
    assert asked["stuck"] == 20
    # Mirrors of other tests may be late.
    assert sum(count for name, count in asked.items() if name.startswith("stuck-shadow")) == 2
    assert gateway.metric("ailink_mirror_skipped_total", model="stuck") == 18
    assert gateway.metric("ailink_mirrored_requests_total", model="stuck") == 2


def test_a_part_of_the_sessions(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    sessions = [f"session-{number}" for number in range(200)]
    for _ in range(2):
        in_parallel(
            lambda session: ask(
                gateway, key, "part", {"x-ailink-session-id": session}, user=session
            ).raise_for_status(),
            sessions,
            threads=8,
        )

    def mirrored() -> Counter[str]:
        bodies = [seen.json() for seen in provider.requests(mark)]
        return Counter(body["user"] for body in bodies if body["model"] == "shadow")

    until(lambda: mirrored() and set(mirrored().values()) == {2}, "every session twice or not at all")
    # 200 draws of 0.3: five standard deviations are 32.
    assert abs(len(mirrored()) - 60) < 33


def test_the_report(gateway: Gateway, key: Key) -> None:
    for _ in range(3):
        ask(gateway, key, "claude").raise_for_status()
        list(events_of(ask(gateway, key, "claude", stream=True).content))
    found = comparison(gateway, "claude", 6)
    assert found["pairs"] == found["compared"] == 6
    own, mirror = found["own"], found["mirror"]
    assert (own["model"], own["failed"], mirror["model"], mirror["failed"]) == (
        "claude",
        0,
        "claude-shadow",
        0,
    )
    assert 0 <= found["agreement"] <= 1
    assert min(own["latency_ms"], mirror["latency_ms"], own["cost"]) > 0
    assert min(own["length"], mirror["output_tokens"]) > 0
    command = [sys.executable, "-m", "ailink", "models", "mirrors", "claude", "--json"]
    options = ["--url", gateway.url, "--key", gateway.admin_key]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["data"][0]["pairs"] == 6


def test_a_mirror_that_fails_is_seen_and_does_not_fall_back(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    ask(gateway, key, "broken").raise_for_status()
    found = comparison(gateway, "broken", 1)
    assert (found["own"]["failed"], found["mirror"]["failed"], found["compared"]) == (0, 1, 0)
    assert "shadow" not in {seen.json()["model"] for seen in provider.requests(mark)}


@pytest.mark.parametrize(
    ("mirror", "told"),
    [({"model": "nobody"}, "unknown model `nobody`"), ({"model": "auto"}, "stands for other models")],
)
def test_bad_mirrors(provider: MockProvider, tmp_path: Path, mirror: dict[str, Any], told: str) -> None:
    config = make_config(
        make_model("m", make_deployment(provider), routing={"mirror": mirror}),
        make_model("n", make_deployment(provider)),
        {"name": "auto", "auto": {"models": ["m", "n"]}},
    )
    gateway = Gateway(tmp_path, config)
    with pytest.raises(AssertionError, match="ended with 1"):
        gateway.start()
    assert told in gateway.log
    assert "models[0].routing.mirror.model" in gateway.log
