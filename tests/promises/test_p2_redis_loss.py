"""P2 without the memory of Redis: what it forgets, the nodes know; what they forget, the ledger knows."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.harness import (
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)

NODES = 2
CENTS = 100
CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, redis: RedisServer
) -> Iterator[Cluster]:
    with MockProvider(tmp_path_factory.mktemp("provider")) as provider:
        model = make_model("m", make_deployment(provider), price=CENT)
        with Cluster(
            tmp_path_factory.mktemp("cluster"),
            # How long nodes are waited for that are gone for good: none is here.
            make_config(model, coordination={"lease": "2s"}),
            nodes=NODES,
            database_url=postgres_server.url(postgres_server.make_database()),
            redis_urls=[redis.url],
        ) as cluster:
            yield cluster


@pytest.mark.parametrize("nodes_too", [False, True], ids=["redis", "redis-and-nodes"])
def test_a_budget_is_spent_once_although_redis_forgets(
    cluster: Cluster, redis: RedisServer, nodes_too: bool
) -> None:
    key = cluster.mint(max_budget=CENTS / 100)
    for node in range(NODES):
        cluster.wait_for(node, key)
    statuses = spend(cluster, key, range(40))
    assert statuses == {200: 40}
    assert redis.size() > 0
    redis.kill()
    redis.start()
    assert redis.size() == 0 or not nodes_too
    if nodes_too:
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda node: node.restart(), cluster.nodes))

    def all_is_spent() -> bool:
        # Refused meanwhile is who asks before the nodes have told what they know.
        nonlocal statuses
        statuses += spend(cluster, key, range(30))
        assert statuses[200] <= CENTS
        return statuses[200] == CENTS

    until(all_is_spent, "the rest is spent", 30)
    assert spend(cluster, key, range(20)) == {422: 20}
    assert set(statuses) <= {200, 422}


def spend(cluster: Cluster, key: Key, callers: range) -> Counter[int]:
    answers = in_parallel(lambda at: cluster.ask(at % NODES, key).status_code, callers, threads=10)
    return Counter(answers)
