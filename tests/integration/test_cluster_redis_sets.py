"""Two nodes share a budget and repeats, over a cluster of Redis and behind sentinels; a failover between.

Ten servers start for it: with AILINK_FULL=1. `tests/unit/coordination` has the same without gateways.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import (
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.redis_sets import RedisCluster, RedisSentinels

CENT = {"per_request": 0.01}

pytestmark = pytest.mark.skipif(os.environ.get("AILINK_FULL") != "1", reason="AILINK_FULL=1 runs it")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


def repeated(cluster: Cluster, key: Key, name: str) -> bool:
    """Whether the second node knows what the first one was asked."""
    headers = {**key.bearer, "Idempotency-Key": name}
    answers = [
        node.http.post("/v1/chat/completions", json=chat(), headers=headers).raise_for_status()
        for node in cluster.nodes
    ]
    return "idempotent-replayed" in answers[1].headers


@pytest.mark.parametrize("kind", [RedisCluster, RedisSentinels], ids=["cluster", "sentinels"])
def test_a_budget_is_spent_once(
    kind: type[RedisCluster | RedisSentinels], server: PostgresServer, provider: MockProvider, tmp_path: Path
) -> None:
    config = make_config(make_model("m", make_deployment(provider, "usage=0:0"), price=CENT))
    with (
        kind(tmp_path / "redis") as servers,
        Cluster(
            tmp_path,
            config,
            nodes=2,
            database_url=server.url(server.make_database()),
            redis_urls=[servers.url],
        ) as cluster,
    ):
        key, other = cluster.mint(max_budget=0.2), cluster.mint()
        cluster.wait_for(1, other)
        until(lambda: repeated(cluster, other, f"before {time.monotonic_ns()}"), "nodes know of repeats", 20)
        statuses = [cluster.ask(number % 2, key).status_code for number in range(10)]
        assert statuses == [200] * 10
        servers.fail_over()

        def spent() -> bool:
            statuses.extend(cluster.ask(number, key).status_code for number in (0, 1))
            return statuses.count(200) >= 20

        until(spent, "the rest is spent", 20)
        statuses += [cluster.ask(number, key).status_code for number in (0, 1)]
        assert statuses.count(200) == 20
        assert statuses[-2:] == [422, 422]
        until(lambda: repeated(cluster, other, f"behind {time.monotonic_ns()}"), "nodes know of repeats", 20)
