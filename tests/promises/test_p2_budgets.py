"""P2: budgets are never overspent by concurrency, and nothing of them is left lying at some node."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from functools import partial
from http.client import HTTPConnection

import pytest
from tests.harness import (
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
)
from tests.harness.size import sized
from tests.promises.conftest import Figures

CALLERS = 500
NODES = 3
BODY = json.dumps(chat("m"))
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


class Callers:
    """Threads with a connection each to one of the nodes; bare ones, for many thousand calls."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turns = itertools.count()
        self._own = threading.local()
        self._connections: list[HTTPConnection] = []
        self.failed = Counter[str]()
        """What was asked again."""

    def ask(self, key: Key, _: int) -> tuple[int, Decimal]:
        """Status and cost. Asks again where a node or the provider has too much to do: that is no word about
        the budget, and what was set aside for it is there again.
        """
        headers = {**key.bearer, "Content-Type": "application/json"}
        while True:
            connection = self._connection()
            connection.request("POST", "/v1/chat/completions", BODY, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status not in (502, 503):
                return answer.status, Decimal(answer.headers["x-ailink-cost"] or 0)
            self.failed[json.loads(text)["error"]["message"]] += 1
            time.sleep(0.1)

    def _connection(self) -> HTTPConnection:
        if not hasattr(self._own, "connection"):
            node = self._cluster.nodes[next(self._turns) % NODES]
            self._own.connection = HTTPConnection("127.0.0.1", node.port, timeout=60)
            self._connections.append(self._own.connection)
        connection: HTTPConnection = self._own.connection
        return connection

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def test_a_dollar_is_a_hundred_cents_over_three_nodes(cluster: Cluster, figures: Figures) -> None:
    rounds = sized(3, 200)
    admitted = Counter[int]()
    with closing(Callers(cluster)) as callers, ThreadPoolExecutor(90) as threads:
        for number in range(rounds):
            key = cluster.mint(number % NODES, max_budget=1.0)
            for node in range(NODES):
                # Known everywhere before the callers come.
                cluster.wait_for(node, key)
            answers = list(threads.map(partial(callers.ask, key), range(CALLERS)))
            statuses = Counter(status for status, _ in answers)
            assert set(statuses) == {200, 422}, statuses
            admitted[statuses[200]] += 1
            spent = sum((cost for status, cost in answers if status == 200), Decimal())
            assert (statuses[200], spent) == (100, Decimal(1)), (number, statuses)
            assert [cluster.ask(node, key).status_code for node in range(NODES)] == [422] * NODES
    figures(f"admitted of {CALLERS} callers at {NODES} nodes, times", dict(admitted))
    figures("asked again after", dict(callers.failed))


def test_the_last_cents_come_from_idle_nodes(cluster: Cluster) -> None:
    """Every node has spent a little and sits on a share; then all the rest is asked for at one."""
    key = cluster.mint(max_budget=1.0)
    for node in range(NODES):
        cluster.wait_for(node, key)
    for node in range(NODES):
        assert [cluster.ask(node, key).status_code for _ in range(5)] == [200] * 5
    answers = in_parallel(lambda _: cluster.ask(0, key), range(120), threads=30)
    assert Counter(answer.status_code for answer in answers) == {200: 85, 422: 35}
