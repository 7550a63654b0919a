"""The second tier in a cluster of Redis and behind sentinels: shared, and a failover costs but misses."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    UNBOUNDED,
    Background,
    Gateway,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.cache_nodes import ADMIN, MASTER, SEAL, ask, call, running_nodes, tier, told
from tests.harness.redis_sets import RedisCluster, RedisSentinels, RedisSet

MANY = 12


@pytest.fixture(scope="module", params=[RedisCluster, RedisSentinels], ids=["cluster", "sentinels"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSet]:
    with request.param(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(
    servers: Any, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Gateway]]:
    config = make_config(
        make_model("m", make_deployment(provider, "echo"), cache={"scope": "shared"}),
        make_model("slow", make_deployment(provider, "latency=500;echo"), cache={"scope": "shared"}),
        cache={"enabled": True, "ttl": "1h", "redis": {"url": servers.url, "timeout": "500ms"}},
        master_key=MASTER,
        encryption_key=SEAL,
    )
    with running_nodes(tmp_path_factory, config, 2) as running:
        yield running


def test_nodes_share_answers(nodes: list[Gateway], servers: Any) -> None:
    before = tier(nodes[0])["writes"]
    texts = [f"shared {number}" for number in range(MANY)]
    for text in texts:
        assert told(ask(nodes[0], text)) == "miss"
    # Entries, and leases that are given back.
    until(lambda: tier(nodes[0])["writes"] >= before + 2 * MANY, "all is written")
    assert [told(ask(nodes[1], text)) for text in texts] == ["hit"] * MANY
    found = tier(nodes[1])
    assert (found["hits"], found["errors"], found["last_error"]) == (MANY, 0, None)
    info = call(nodes[1], "/cache/redis/info")["info"]
    assert info["redis_mode"] == ("cluster" if isinstance(servers, RedisCluster) else "standalone")


def test_equal_requests_on_two_nodes_are_one(nodes: list[Gateway], provider: MockProvider) -> None:
    async def flood() -> list[httpx.Response]:
        body = chat("slow", "on two nodes")
        async with httpx.AsyncClient(headers=ADMIN, timeout=60, limits=UNBOUNDED) as client:
            asked = [client.post(f"{node.url}/v1/chat/completions", json=body) for node in nodes * 20]
            return await asyncio.gather(*asked)

    mark = provider.mark()
    answers = asyncio.run(flood())
    assert {answer.status_code for answer in answers} == {200}
    assert len(provider.requests(since=mark)) == 1
    assert [told(answer) for answer in answers].count("miss") == 1


def test_a_purge_reaches_all_servers(nodes: list[Gateway], servers: Any) -> None:
    texts = [f"purged {number}" for number in range(MANY)]
    before = tier(nodes[0])["writes"]
    for text in texts:
        ask(nodes[0], text)
    until(lambda: tier(nodes[0])["writes"] >= before + 2 * MANY, "all is written")
    if isinstance(servers, RedisCluster):
        assert all(server.size() > 0 for server in servers.masters)
    assert call(nodes[0], "/cache/purge", {"model": "m"})["deleted"] >= MANY
    assert [told(ask(nodes[1], text)) for text in texts] == ["miss"] * MANY


def test_a_failover_costs_but_misses(nodes: list[Gateway], servers: Any) -> None:
    numbers = itertools.count()

    def once() -> tuple[str, float]:
        number, began = next(numbers), time.monotonic()
        return told(ask(nodes[number % 2], f"meanwhile {number}")), time.monotonic() - began

    with Background(once, threads=2, pause=0.01) as load:
        servers.fail_over()
    assert load.errors == []
    assert {what for what, _ in load.results} == {"miss"}
    # A read, a lease and a read again, of half a second each at most; the rest is for a busy machine.
    assert max(seconds for _, seconds in load.results) < 5
    found = [tier(node) for node in nodes]
    assert sum(one["errors"] + one["timeouts"] + one["skipped"] for one in found) > 0

    def back() -> bool:
        texts = [f"back {time.monotonic_ns()} {number}" for number in range(MANY)]
        for text in texts:
            ask(nodes[0], text)
        time.sleep(0.1)
        return [told(ask(nodes[1], text)) for text in texts] == ["hit"] * MANY

    until(back, "all of the tier is used again", 20)
