"""P4: serving depends on neither PostgreSQL nor Redis: killed, frozen or swallowed, nobody notices."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.harness import (
    Background,
    Cluster,
    MockProvider,
    PostgresServer,
    RedisServer,
    Relay,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.cluster import MASTER_KEY
from tests.harness.size import FULL, sized
from tests.promises.conftest import Figures

NODES = 3
OUTAGE_S = sized(4, 120)
BEFORE = sized(300, 3_000)
# What an outage may add to the 99th percentile, in its first second and after it; judged in the full run.
FIRST_MS, LATER_MS = 100, 2
REPLAYED_S = 30


class Servers(NamedTuple):
    """What fails, and what stands between it and the nodes."""

    redis: RedisServer
    postgres: PostgresServer
    relays: tuple[Relay, Relay]


class Database(NamedTuple):
    """The ledger of all nodes."""

    server: PostgresServer
    name: str

    def attempts(self) -> tuple[int, int]:
        """All, and how many different ones."""
        sql = "SELECT count(*), count(DISTINCT (node, attempt_id)) FROM attempt"
        found, different = self.server.run(sql, self.name).split("|")
        return int(found), int(different)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def relays(redis: RedisServer, postgres: PostgresServer) -> Iterator[tuple[Relay, Relay]]:
    with Relay(redis.port) as first, Relay(postgres.port) as second:
        yield first, second


@pytest.fixture(scope="module")
def servers(redis: RedisServer, postgres: PostgresServer, relays: tuple[Relay, Relay]) -> Servers:
    return Servers(redis, postgres, relays)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Database:
    return Database(postgres, postgres.make_database())


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    provider: MockProvider,
    database: Database,
    relays: tuple[Relay, Relay],
) -> Iterator[Cluster]:
    to_redis, to_postgres = relays
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        make_config(make_model("m", make_deployment(provider))),
        nodes=NODES,
        database_url=database.server.url(database.name, to_postgres.port),
        redis_urls=[f"redis://127.0.0.1:{to_redis.port}/0"],
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("fault", ["killed", "frozen", "swallowed"])
def test_known_keys_notice_nothing(
    cluster: Cluster,
    servers: Servers,
    database: Database,
    provider: MockProvider,
    fault: str,
    figures: Figures,
) -> None:
    redis, postgres, relays = servers
    # One without limits, one whose limits are shared and far away.
    keys = [cluster.mint(), cluster.mint(rpm_limit=1_000_000, max_budget=1_000)]
    for key in keys:
        for node in range(NODES):
            cluster.wait_for(node, key)
    turn = iter(range(10_000_000))
    took: list[tuple[float, float]] = []

    def ask() -> int:
        number = next(turn)
        began = time.monotonic()
        status = cluster.ask(number % NODES, keys[number // NODES % 2]).status_code
        took.append((began, time.monotonic() - began))
        return status

    with Background(ask, threads=3, pause=0.01) as load:
        until(lambda: len(load.results) > BEFORE, "load runs", 120)
        began = time.monotonic()
        if fault == "killed":
            redis.kill()
            postgres.kill()
        elif fault == "frozen":
            redis.child.freeze()
            postgres.child.freeze()
        else:
            for relay in relays:
                relay.set("hole")
        # How long the outage lasts is what the test is about.
        time.sleep(OUTAGE_S)
        if fault == "killed":
            redis.start()
            postgres.start()
        elif fault == "frozen":
            redis.child.thaw()
            postgres.child.thaw()
        else:
            for relay in relays:
                relay.set("pass")
        back = time.monotonic()
        until(lambda: _managed(cluster), "management is back", 30)
        figures("management back after, s", f"{time.monotonic() - back:.1f}")
        more = len(load.results) + 100
        until(lambda: len(load.results) > more, "load goes on")
    made = provider.stats()["requests"]
    until(lambda: database.attempts() == (made, made), "every attempt is in the ledger, once", REPLAYED_S)
    figures("attempts; in the ledger after, s", f"{made}; {time.monotonic() - back:.1f}")
    assert load.errors == []
    assert set(load.results) == {200}
    usual = _p99(took, 0, began)
    first, later = _p99(took, began, began + 1) - usual, _p99(took, began + 1, back) - usual
    figures("requests during the outage", sum(began <= at < back for at, _ in took))
    figures(
        "p99 before, added in the first second and after it, ms", f"{usual:.1f}, {first:.1f}, {later:.1f}"
    )
    if FULL:
        assert first <= FIRST_MS
        assert later <= LATER_MS


def _p99(took: list[tuple[float, float]], since: float, until: float) -> float:
    """Of the requests that began then, in ms."""
    times = sorted(one for at, one in took if since <= at < until)
    return times[min(len(times) - 1, int(len(times) * 0.99))] * 1_000 if times else 0.0


def _managed(cluster: Cluster) -> bool:
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    return cluster.nodes[0].http.post("/key/generate", json={}, headers=headers).status_code == 200
