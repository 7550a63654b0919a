"""P4: serving depends on neither PostgreSQL nor Redis: killed, frozen or swallowed, nobody notices."""

import time
from collections.abc import Iterator

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
from tests.harness.size import sized
from tests.promises.conftest import Figures

NODES = 3
OUTAGE_S = sized(4, 120)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def relays(redis: RedisServer, postgres: PostgresServer) -> Iterator[tuple[Relay, Relay]]:
    with Relay(redis.port) as first, Relay(postgres.port) as second:
        yield first, second


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    provider: MockProvider,
    postgres: PostgresServer,
    relays: tuple[Relay, Relay],
) -> Iterator[Cluster]:
    to_redis, to_postgres = relays
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        make_config(make_model("m", make_deployment(provider))),
        nodes=NODES,
        database_url=postgres.url(postgres.make_database(), to_postgres.port),
        redis_urls=[f"redis://127.0.0.1:{to_redis.port}/0"],
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("fault", ["killed", "frozen", "swallowed"])
def test_known_keys_notice_nothing(
    cluster: Cluster,
    redis: RedisServer,
    postgres: PostgresServer,
    relays: tuple[Relay, Relay],
    fault: str,
    figures: Figures,
) -> None:
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
        until(lambda: len(load.results) > 300, "load runs")
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
    assert load.errors == []
    assert set(load.results) == {200}
    first = sorted(one for at, one in took if began <= at < began + 1)
    rest = sorted(one for at, one in took if began + 1 <= at < back)
    figures("requests during the outage", len(first) + len(rest))
    figures("p99 in the first second and after it, ms", f"{_p99(first):.1f}, {_p99(rest):.1f}")


def _p99(times: list[float]) -> float:
    return times[min(len(times) - 1, int(len(times) * 0.99))] * 1_000 if times else 0.0


def _managed(cluster: Cluster) -> bool:
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    return cluster.nodes[0].http.post("/key/generate", json={}, headers=headers).status_code == 200
