"""P4 of shared limits: one that is far away is not taken for reached, however often Redis goes."""

import time
from collections.abc import Iterator

import pytest
from tests.harness import (
    Background,
    Cluster,
    Gateway,
    MockProvider,
    PostgresServer,
    RedisServer,
    Relay,
    make_config,
    make_deployment,
    make_model,
    until,
)

NODES = 3
LEASE_S = 12
# Half as long as leases hold, for a busy machine notices late that Redis is back. Another follows soon after
# every node has noticed: no share is as it was before the first.
OUTAGE_S, PAUSE_S = 6.0, 1.0
GONE, BACK = "the coordinator does not answer", "the coordinator answers"
CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
FAULTS = ["killed", "frozen", "swallowed", "swallowed", "killed"]


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, relay: Relay
) -> Iterator[Cluster]:
    with MockProvider(tmp_path_factory.mktemp("provider")) as provider:
        config = make_config(
            make_model("m", make_deployment(provider), price=CENT),
            # Of the window an outage lasts three; a minute of the calendar may begin in one.
            limits=[{"on": "model:m", "requests": 1_200, "per": "2s"}],
            budgets={"rules": [{"on": "model:m", "usd": 1_000, "per": "minute"}]},
            coordination={"lease": f"{LEASE_S}s"},
        )
        with Cluster(
            tmp_path_factory.mktemp("cluster"),
            config,
            nodes=NODES,
            database_url=postgres_server.url(postgres_server.make_database()),
            redis_urls=[f"redis://127.0.0.1:{relay.port}/0"],
        ) as cluster:
            yield cluster


def test_limits_that_are_far_away_stay_far_away(cluster: Cluster, redis: RedisServer, relay: Relay) -> None:
    keys = [cluster.mint(rpm_limit=1_000_000, max_budget=1_000), cluster.mint(rpm_limit=1_000_000)]
    for key in keys:
        for node in range(NODES):
            cluster.wait_for(node, key)
    turn = iter(range(10_000_000))
    refused: list[tuple[float, int, str]] = []
    began = time.monotonic()

    def ask() -> int:
        number = next(turn)
        answer = cluster.ask(number % NODES, keys[number // NODES % 2])
        if answer.status_code != 200:
            refused.append((time.monotonic() - began, number % NODES, answer.text[:300]))
        return answer.status_code

    with Background(ask, threads=3, pause=0.03) as load:
        until(lambda: len(load.results) > 100, "load runs", 60)
        for fault in FAULTS:
            fail(fault, redis, relay)
            # How long the outage lasts is what the test is about.
            time.sleep(OUTAGE_S)
            mend(fault, redis, relay)
            until(lambda: all(map(is_back, cluster.nodes)), "every node has noticed")
            time.sleep(PAUSE_S)
        more = len(load.results) + 100
        until(lambda: len(load.results) > more, "load goes on")
    assert load.errors == []
    assert refused == []


def is_back(node: Gateway) -> bool:
    log = node.log
    return log.rfind(BACK) > log.rfind(GONE)


def fail(fault: str, redis: RedisServer, relay: Relay) -> None:
    if fault == "killed":
        redis.kill()
    elif fault == "frozen":
        redis.child.freeze()
    else:
        relay.set("hole")


def mend(fault: str, redis: RedisServer, relay: Relay) -> None:
    if fault == "killed":
        redis.start()
    elif fault == "frozen":
        redis.child.thaw()
    else:
        relay.set("pass")
