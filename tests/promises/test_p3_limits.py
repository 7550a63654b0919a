"""P3: limits hold in every window over all nodes, also without Redis; a blocked key stops everywhere."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.harness import (
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    Relay,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.size import sized
from tests.promises.conftest import Figures

NODES = 3
WINDOW_S = 2.0
LIMIT = 30


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider"), record=65_536) as provider:
        yield provider


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    provider: MockProvider,
    postgres_server: PostgresServer,
    relay: Relay,
) -> Iterator[Cluster]:
    models = [
        make_model(name, make_deployment(provider, model=name))
        for name in ("m", "healthy", "killed", "frozen", "swallowed")
    ]
    limits = [
        {"on": f"model:{name}", "requests": LIMIT, "per": f"{WINDOW_S:.0f}s"}
        for name in ("healthy", "killed", "frozen", "swallowed")
    ]
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        make_config(*models, limits=limits),
        nodes=NODES,
        database_url=postgres_server.url(postgres_server.make_database()),
        redis_urls=[f"redis://127.0.0.1:{relay.port}/0"],
    ) as cluster:
        yield cluster


@pytest.fixture
def fail(redis: RedisServer, relay: Relay) -> Iterator[Callable[[str], None]]:
    """Does to Redis what is said, and undoes it when another word is said."""
    now = ["healthy"]
    undo = {"killed": redis.start, "frozen": redis.child.thaw, "swallowed": partial(relay.set, "pass")}
    act = {"killed": redis.kill, "frozen": redis.child.freeze, "swallowed": partial(relay.set, "hole")}

    def do(fault: str) -> None:
        before, now[0] = now[0], fault
        for what in (undo.get(before), act.get(fault)):
            if what is not None:
                what()

    yield do
    do("healthy")


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Key:
    key = cluster.mint()
    for node in range(NODES):
        cluster.wait_for(node, key)
    return key


def fullest(times: list[float]) -> int:
    """The most that any window holds, looked at from every arrival."""
    return max((sum(start <= at < start + WINDOW_S for at in times) for start in times), default=0)


def drive(cluster: Cluster, key: Key, model: str, seconds: float) -> list[int]:
    """Two callers at each node, as fast as they can; the statuses."""
    end = time.monotonic() + seconds
    found: list[int] = []

    def call(node: int) -> None:
        while time.monotonic() < end:
            found.append(cluster.ask(node, key, model).status_code)
            time.sleep(0.02)

    threads = [threading.Thread(target=call, args=(at % NODES,)) for at in range(2 * NODES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def arrivals(provider: MockProvider, mark: int, model: str) -> list[float]:
    seen = provider.requests(mark, lambda one: one.json()["model"] == model)
    return [one.received_ns / 1e9 for one in seen]


def test_places_in_flight_are_counted_over_all_nodes(cluster: Cluster, provider: MockProvider) -> None:
    key = cluster.mint(max_parallel_requests=4)
    for node in range(NODES):
        cluster.wait_for(node, key)
    provider.set_defaults("latency=700ms")
    try:
        answers = in_parallel(lambda at: cluster.ask(at % NODES, key).status_code, range(12), threads=12)
    finally:
        provider.set_defaults("")
    assert sorted(answers) == [200] * 4 + [429] * 8
    # Places are given back behind the answers, and may come from another node.
    until(lambda: cluster.ask(0, key).status_code == 200, "a place is free again")


@pytest.mark.parametrize("fault", ["healthy", "killed", "frozen", "swallowed"])
def test_no_window_holds_more_than_the_limit(
    cluster: Cluster,
    key: Key,
    provider: MockProvider,
    fail: Callable[[str], None],
    fault: str,
    figures: Figures,
) -> None:
    mark = provider.mark()
    seconds = sized(2, 20) * WINDOW_S
    statuses = drive(cluster, key, fault, seconds / 2)
    fail(fault)
    statuses += drive(cluster, key, fault, seconds / 2)
    fail("healthy")
    statuses += drive(cluster, key, fault, seconds / 2)
    # It recovers by itself.
    until(lambda: cluster.ask(0, key, fault).status_code == 200, "requests are admitted again", 20)
    assert set(statuses) == {200, 429}
    times = arrivals(provider, mark, fault)
    what = f"admitted in {1.5 * seconds:.0f} s, fullest window of limit {LIMIT}"
    figures(what, f"{len(times)}, {fullest(times)}")
    assert fullest(times) <= LIMIT
    assert len(times) >= LIMIT


def test_a_blocked_key_stops_on_every_node(cluster: Cluster, relay: Relay, figures: Figures) -> None:
    def blocked(node: int, key: Key) -> bool:
        return cluster.ask(node, key).status_code == 401

    def took() -> float:
        key = cluster.mint()
        for node in range(NODES):
            cluster.wait_for(node, key)
            assert cluster.ask(node, key).status_code == 200
        cluster.call("/key/block", {"key": key.secret})
        began = time.monotonic()
        for node in range(NODES):
            until(partial(blocked, node, key), "the key is blocked")
        return time.monotonic() - began

    for fault in (False, True):
        relay.set("hole" if fault else "pass")
        # One busy moment is no defect: another key then.
        found = next((seconds for _ in range(3) if (seconds := took()) <= 2), None)
        assert found is not None, "never within two seconds"
        how = "without" if fault else "with"
        figures(f"blocked on {NODES} nodes within, s ({how} Redis)", f"{found:.2f}")
    relay.set("pass")
