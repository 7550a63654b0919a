"""Batches on two nodes with one PostgreSQL: whoever dies or is frozen, wherever it is, every line is answered
and paid for once.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.harness import Cluster, Gateway, Key, PostgresServer, Relay, make_config, until
from tests.harness.batches import BatchProvider

PRICE = {"services": {"batch": {"input_per_million": 5, "output_per_million": 50}}}
ONE = 100 * 5_000_000 + 20 * 50_000_000
"""pico-USD of one answer of the double at the batch's price."""
LINES = 5_000
ENDED = ("completed", "failed", "cancelled", "expired")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def double() -> Iterator[BatchProvider]:
    with BatchProvider() as running:
        yield running
        running.done.set()


@pytest.fixture
def database(server: PostgresServer) -> str:
    return server.make_database()


@pytest.fixture
def relay(server: PostgresServer) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


@pytest.fixture
def cluster(
    double: BatchProvider, tmp_path: Path, server: PostgresServer, database: str, relay: Relay, redis_url: str
) -> Iterator[Cluster]:
    place = {"provider": "openai_compatible", "base_url": f"{double.url}/v1", "api_key": "k", "model": "up"}
    model = {"name": "gpt", "deployments": [place], "price": PRICE, "retries": 0}
    # A busy node whose way to the database is long keeps what it follows: three seconds are too few for that.
    config = make_config(model, batches={"poll": "100ms", "lease": "8s"})
    urls = [server.url(database, relay.port), server.url(database)]
    with Cluster(tmp_path, config, nodes=2, database_url=urls, redis_urls=[redis_url]) as running:
        yield running


def client_of(node: Gateway, key: Key) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{node.url}/v1", api_key=key.secret, max_retries=0)


def made_at(cluster: Cluster, key: Key, count: int) -> str:
    """A batch that the first node has handed over, and follows."""
    rows = []
    for number in range(count):
        body = {"model": "gpt", "messages": [{"role": "user", "content": f"{number}"}], "max_tokens": 20}
        rows.append(
            {"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        )
    content = "\n".join(json.dumps(row) for row in rows).encode()
    with client_of(cluster.nodes[0], key) as client:
        file = client.files.create(file=("in.jsonl", content), purpose="batch")
        made = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        until(lambda: client.batches.retrieve(made.id).status == "in_progress", "it is handed over", 30)
    return made.id


def ended_at(node: Gateway, key: Key, batch_id: str, count: int) -> None:
    """Completed, with each answer once and one file of them."""
    with client_of(node, key) as client:

        def look() -> Any:
            batch = client.batches.retrieve(batch_id)
            return batch if batch.status in ENDED else None

        # A node that stands still may hold rows: its lease, and then its transaction, have to run out first.
        batch = until(look, "the batch has ended", 120)
        assert (batch.status, batch.request_counts.completed) == ("completed", count)
        assert batch.to_dict()["cost"] == pytest.approx(count * ONE / 10**12)
        lines = client.files.content(batch.output_file_id).content.splitlines()
        assert Counter(json.loads(row)["custom_id"] for row in lines) == {f"c{n}": 1 for n in range(count)}
        until(lambda: len(list(client.files.list(purpose="batch_output"))) == 1, "one file of answers")


class Shared:
    """The ledger of both nodes."""

    def __init__(self, server: PostgresServer, database: str) -> None:
        self._server, self._database = server, database

    def ask(self, sql: str) -> list[int]:
        return [int(value) for value in self._server.run(sql, self._database).split("|")]

    def rows(self) -> int:
        return self.ask("SELECT count(*) FROM attempt")[0]

    def agrees(self, count: int) -> None:
        until(lambda: self.rows() >= count, "all rows have arrived", 30)
        columns = "count(*), count(DISTINCT request_id), sum(cost_pico)"
        assert self.ask(f"SELECT {columns} FROM attempt") == [count, count, count * ONE]
        assert self.ask("SELECT sum(requests), sum(cost_usd * 1000000000000 + cost_pico) FROM rollup") == [
            count,
            count * ONE,
        ]

    def accounts_for(self, node: Gateway) -> bool:
        """Every row that the node, which has been stopped, wrote was taken or passed over."""
        number = node.directory.name.removeprefix("node")
        sent = self.ask(f"SELECT coalesce(sum(rows_sent), 0) FROM ledger_sent WHERE node >> 32 = {number}")
        return sent == [len(node.ledger())]


@pytest.fixture
def shared(server: PostgresServer, database: str) -> Shared:
    return Shared(server, database)


@pytest.fixture
def key(cluster: Cluster) -> Key:
    made = cluster.mint(max_budget=100)
    cluster.wait_for(1, made)
    return made


def test_a_batch_in_progress_outlives_its_node(
    cluster: Cluster, double: BatchProvider, key: Key, shared: Shared
) -> None:
    batch_id = made_at(cluster, key, 3)
    cluster.nodes[0].kill()
    double.done.set()
    ended_at(cluster.nodes[1], key, batch_id, 3)
    shared.agrees(3)


def test_a_batch_whose_answers_are_fetched_outlives_its_node(
    cluster: Cluster, double: BatchProvider, key: Key, shared: Shared
) -> None:
    batch_id = made_at(cluster, key, 3)
    double.spoilt = b'{"custom_id":"line-0000'
    double.done.set()
    with client_of(cluster.nodes[1], key) as client:
        until(lambda: client.batches.retrieve(batch_id).status == "finalizing", "it is finalizing", 30)
        cluster.nodes[0].kill()
        double.spoilt = None
    ended_at(cluster.nodes[1], key, batch_id, 3)
    shared.agrees(3)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_batch_is_settled_once_whoever_settles_it(
    cluster: Cluster, double: BatchProvider, key: Key, shared: Shared, relay: Relay, frozen: bool
) -> None:
    """The node goes in the middle of the rows, some of them not sent; later it comes back with them."""
    first, second = cluster.nodes
    batch_id = made_at(cluster, key, LINES)
    # Its way to the database is long, so that there is a middle.
    relay.delay_s = 0.01
    double.done.set()
    until(lambda: shared.rows() > 0, "rows arrive", 60)
    if frozen:
        first.child.freeze()
    else:
        first.kill()
    relay.delay_s = 0.0
    assert shared.rows() < LINES, "it was too fast: nothing was seen"
    ended_at(second, key, batch_id, LINES)
    shared.agrees(LINES)
    if frozen:
        first.child.thaw()
    else:
        first.start()
    ended_at(first, key, batch_id, LINES)
    for node in cluster.nodes:
        node.stop()
    assert all(shared.accounts_for(node) for node in cluster.nodes)
    passed = shared.ask("SELECT count(*) FROM ledger_passed")[0]
    assert LINES + passed == sum(len(node.ledger()) for node in cluster.nodes)
    shared.agrees(LINES)
