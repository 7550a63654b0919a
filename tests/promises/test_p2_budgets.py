"""P2: budgets are never overspent by concurrency, and nothing of them is left lying at some node."""

import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

import httpx
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
)
from tests.harness.size import sized
from tests.promises.conftest import Figures

CALLERS = 500
NODES = 3
CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, redis_server: RedisServer
) -> Iterator[Cluster]:
    with MockProvider(tmp_path_factory.mktemp("provider"), record=1024) as provider:
        model = make_model("m", make_deployment(provider, "latency=20ms"), price=CENT)
        with Cluster(
            tmp_path_factory.mktemp("cluster"),
            make_config(model),
            nodes=NODES,
            database_url=postgres_server.url(postgres_server.make_database()),
            redis_urls=[redis_server.url],
        ) as cluster:
            yield cluster


def ask(cluster: Cluster, key: Key, failed: Counter[str], caller: int) -> httpx.Response:
    """Asks again where a node or the provider has too much to do: that is no word about the budget, and what
    was set aside for it is there again.
    """
    while (answer := cluster.ask(caller % NODES, key)).status_code in (502, 503):
        failed[answer.json()["error"]["message"]] += 1
        time.sleep(0.1)
    return answer


def test_a_dollar_is_a_hundred_cents_over_three_nodes(cluster: Cluster, figures: Figures) -> None:
    rounds = sized(3, 200)
    admitted, failed = Counter[int](), Counter[str]()
    for number in range(rounds):
        key = cluster.mint(number % NODES, max_budget=1.0)
        for node in range(NODES):
            # Known everywhere before the callers come.
            cluster.wait_for(node, key)
        answers = in_parallel(partial(ask, cluster, key, failed), range(CALLERS), threads=90)
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 422}, statuses
        admitted[statuses[200]] += 1
        spent = sum(
            (Decimal(answer.headers["x-ailink-cost"]) for answer in answers if answer.is_success), Decimal()
        )
        assert (statuses[200], spent) == (100, Decimal(1)), statuses
        assert [cluster.ask(node, key).status_code for node in range(NODES)] == [422] * NODES
    figures(f"admitted of {CALLERS} callers at {NODES} nodes, times", dict(admitted))
    figures("asked again after", dict(failed))


def test_the_last_cents_come_from_idle_nodes(cluster: Cluster) -> None:
    """Every node has spent a little and sits on a share; then all the rest is asked for at one."""
    key = cluster.mint(max_budget=1.0)
    for node in range(NODES):
        cluster.wait_for(node, key)
    for node in range(NODES):
        assert [cluster.ask(node, key).status_code for _ in range(5)] == [200] * 5
    answers = in_parallel(lambda _: cluster.ask(0, key), range(120), threads=30)
    assert Counter(answer.status_code for answer in answers) == {200: 85, 422: 35}
