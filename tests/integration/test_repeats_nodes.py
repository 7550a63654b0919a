"""`Idempotency-Key` over three nodes with one Redis: done and billed once, wherever a repeat arrives."""

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest
import redis
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
    until,
)
from tests.harness.cluster import MASTER_KEY
from tests.harness.leaving import leave

NODES = 3
CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
PATH = "/v1/chat/completions"
NAMES = b"ailink:repeat:*"
# What is proved here is what nodes do, not how fast this machine is.
PATIENCE = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def store(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def cluster(
    provider: MockProvider,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    server: RedisServer,
) -> Iterator[Cluster]:
    def model(name: str, script: str) -> dict[str, Any]:
        return make_model(name, make_deployment(provider, script), price=CENT)

    config = make_config(
        model("quick", "echo"),
        model("slow", "latency=700ms"),
        model("slower", "latency=4s"),
        model("drip", "gap=20ms;usage=10:20"),
        model("fails", "latency=500ms;status=500"),
        model("long", "bytes=2500000"),
        model("large", "bytes=900000"),
        coordination={"timeout": f"{PATIENCE}s"},
        server={"keepalive_comment": "3s"},
    )
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        config,
        nodes=NODES,
        database_url=postgres_server.url(postgres_server.make_database()),
        redis_urls=[server.url],
    ) as running:
        yield running


@pytest.fixture
def key(cluster: Cluster) -> Key:
    made = cluster.mint()
    for node in range(1, NODES):
        cluster.wait_for(node, made)
    return made


def ask(
    cluster: Cluster, node: int, key: Key, name: str, model: str = "quick", **more: Any
) -> httpx.Response:
    headers = {**key.bearer, "Idempotency-Key": name}
    return cluster.nodes[node].http.post(PATH, json=chat(model, **more), headers=headers)


def replayed(answer: httpx.Response) -> bool:
    assert answer.status_code == 200, answer.text
    return "idempotent-replayed" in answer.headers


def billed(cluster: Cluster, key: Key, times: int) -> None:
    """So many attempts of a key stand in the ledger of all nodes."""

    def total() -> dict[str, Any]:
        found: dict[str, Any] = cluster.call("/v1/spend", key_id=key.id)["total"]
        return found

    until(lambda: total()["requests"] >= times, "what was asked is in the ledger", 20)
    assert total()["requests"] == times
    assert Decimal(str(total()["spend"])) == times * Decimal("0.01")


@pytest.mark.parametrize("stream", [False, True])
def test_fifty_at_once_over_three_nodes_are_one(
    cluster: Cluster, key: Key, provider: MockProvider, stream: bool
) -> None:
    mark = provider.mark()
    model = "drip" if stream else "slow"
    more = {"stream": True} if stream else {}
    answers = in_parallel(lambda at: ask(cluster, at % NODES, key, "a", model, **more), range(50), 50)
    assert sorted(replayed(answer) for answer in answers) == [False] + [True] * 49
    later = [ask(cluster, node, key, "a", model, **more) for node in (2, 1, 0, 2, 1, 0)]
    assert all(replayed(answer) for answer in later)
    answers += later
    assert len({answer.content for answer in answers}) == 1
    same = {"content-type", "x-request-id", "x-ailink-deployment", "x-ailink-cost"} & {*answers[0].headers}
    assert len({tuple(answer.headers[name] for name in sorted(same)) for answer in answers}) == 1
    assert len(provider.requests(mark)) == 1
    assert not stream or answers[0].content.endswith(b"data: [DONE]\n\n")
    billed(cluster, key, 1)


def repeats(cluster: Cluster) -> Counter[str]:
    """What became of requests with a key so far, over all nodes."""
    admin = {"Authorization": f"Bearer {MASTER_KEY}"}
    pattern = re.compile(r'^ailink_repeats_total\{outcome="(\w+)"\} (\d+)$', re.MULTILINE)
    found: Counter[str] = Counter()
    for node in cluster.nodes:
        page = node.http.get("/metrics", headers=admin).text
        found.update({name: int(count) for name, count in pattern.findall(page)})
    return found


def test_what_becomes_of_them_is_counted(
    cluster: Cluster, key: Key, provider: MockProvider, store: Any
) -> None:
    until(lambda: shared(cluster, key), "the nodes know of one another", 20)

    def counted(work: Callable[[], Any]) -> Counter[str]:
        before = repeats(cluster)
        work()
        return repeats(cluster) - before

    assert counted(lambda: ask(cluster, 0, key, "n")) == {"first": 1}
    assert counted(lambda: [ask(cluster, node, key, "n") for node in range(NODES)]) == {"replayed": NODES}
    assert counted(lambda: ask(cluster, 0, key, "n", temperature=1)) == {"mismatch": 1}
    assert counted(lambda: ask(cluster, 1, key, "n", temperature=1)) == {"mismatch": 1}
    assert counted(lambda: ask(cluster, 0, key, "n" * 300)) == {"invalid": 1}
    # Some on the node that has the first, some on others.
    at_once = lambda: in_parallel(lambda at: ask(cluster, at % NODES, key, "o", "slow"), range(6), 6)  # noqa: E731
    assert counted(at_once) == {"first": 1, "waited": 5}
    failing = lambda: in_parallel(lambda node: ask(cluster, node, key, "p", "fails"), range(2), 2)  # noqa: E731
    assert counted(failing) == {"first": 1, "taken_over": 1}
    store.flushall()
    assert counted(lambda: ask(cluster, 0, key, "q")) == {"first": 1}
    until(lambda: store.keys(NAMES), "it is there")
    [name] = store.keys(NAMES)
    store.set(name, b"garbage")
    assert counted(lambda: ask(cluster, 1, key, "q")) == {"foreign": 1}


def test_who_waits_for_a_stream_is_kept_alive(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    first, waited = in_parallel(lambda node: ask(cluster, node, key, "k", "slower", stream=True), range(2), 2)
    assert len(provider.requests(mark)) == 1
    comment = b": keep-alive\n\n"
    for answer in (first, waited):
        assert answer.content.startswith(comment)
        assert answer.content.endswith(b"data: [DONE]\n\n")
    # The one who asked, and behind comments of his own the one who waited, heard the same.
    assert first.content.replace(comment, b"") == waited.content.replace(comment, b"")
    again = ask(cluster, 2, key, "k", "slower", stream=True)
    assert replayed(again)
    assert again.content in (first.content, waited.content)


def test_a_restart_forgets_nothing(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    first = ask(cluster, 2, key, "l")
    cluster.nodes[2].restart()
    for node in (2, 1):
        again = ask(cluster, node, key, "l")
        assert (replayed(again), again.content) == (True, first.content)
    assert len(provider.requests(mark)) == 1


def test_another_body_is_refused_on_every_node(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, cluster, 0, key, "b", "slow")
        until(lambda: provider.requests(mark), "the first is under way")
        during = [ask(cluster, node, key, "b", "slow", temperature=0.5) for node in range(NODES)]
        assert not replayed(first.result(20))
    behind = [ask(cluster, node, key, "b", "slow", temperature=0.5) for node in range(NODES)]
    for other in during + behind:
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert replayed(ask(cluster, 1, key, "b", "slow"))
    assert len(provider.requests(mark)) == 1


def test_of_two_bodies_at_once_one_wins_everywhere(
    cluster: Cluster, key: Key, provider: MockProvider
) -> None:
    for number in range(5):
        mark = provider.mark()
        answers = in_parallel(
            lambda at, number=number: ask(
                cluster, at % NODES, key, f"c{number}", "slow", temperature=at // 2 % 2 / 2
            ),
            range(24),
            24,
        )
        told = [{answers[at].status_code for at in range(24) if at // 2 % 2 == side} for side in (0, 1)]
        assert sorted(told, key=min) == [{200}, {422}]
        assert len(provider.requests(mark)) == 1


def test_keys_are_their_owners(cluster: Cluster, key: Key, provider: MockProvider, store: Any) -> None:
    other = cluster.mint()
    for node in range(1, NODES):
        cluster.wait_for(node, other)
    mark = provider.mark()
    store.flushall()
    assert not replayed(ask(cluster, 0, key, "mine-alone", messages=chat(text="a secret text")["messages"]))
    assert not replayed(ask(cluster, 1, other, "mine-alone"))
    assert len(provider.requests(mark)) == 2
    # What lies in Redis tells nothing.
    until(lambda: sum(store.strlen(name) > 300 for name in store.keys(NAMES)) == 2, "the answers are there")
    for name in store.keys(NAMES):
        seen = name + store.get(name)
        assert not any(text in seen for text in (b"mine-alone", b"secret", b"choices", key.id.encode()))
        assert 23 * 3_600_000 < store.pttl(name) <= 24 * 3_600_000


def test_failures_are_tried_again_elsewhere(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answers = in_parallel(lambda node: ask(cluster, node, key, "e", "fails"), range(NODES), NODES)
    assert all(answer.status_code >= 500 for answer in answers)
    # Each waited for the one before it.
    assert len(provider.requests(mark)) == NODES


def test_an_answer_too_large_to_keep_is_made_anew(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    for stream in (False, True):
        answers = [ask(cluster, node, key, f"f{stream}", "long", stream=stream) for node in range(2)]
        assert all(len(answer.content) > 2_500_000 for answer in answers)
        assert not any(replayed(answer) for answer in answers)
    assert len(provider.requests(mark)) == 4


def test_redis_holds_no_more_than_the_nodes_remember(cluster: Cluster, key: Key, store: Any) -> None:
    store.flushall()
    for number in range(70):
        assert not replayed(ask(cluster, 0, key, f"large {number}", "large"))
    until(lambda: len(store.keys(NAMES)) <= 36, "what is forgotten goes from Redis, too")
    # The last one is remembered.
    assert replayed(ask(cluster, 1, key, "large 69", "large"))


def test_a_caller_who_left_finds_the_answer_on_another_node(
    cluster: Cluster, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    headers = {**key.bearer, "Idempotency-Key": "left"}
    leave(cluster.nodes[0], provider, PATH, chat("slow"), headers)
    assert replayed(ask(cluster, 1, key, "left", "slow"))
    assert len(provider.requests(mark)) == 1
    billed(cluster, key, 1)
    # What is not gone on with is not waited for.
    made_up = "stainless-python-retry-1"
    leave(cluster.nodes[0], provider, PATH, chat("slower"), {**headers, "Idempotency-Key": made_up})
    began = time.monotonic()
    assert not replayed(ask(cluster, 1, key, made_up, "slower"))
    assert time.monotonic() - began < 4 + 3.5


def test_a_node_that_dies_is_succeeded(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()

    def dies() -> None:
        with contextlib.suppress(httpx.HTTPError):
            ask(cluster, 0, key, "g", "slower")

    first = threading.Thread(target=dies)
    first.start()
    until(lambda: len(provider.requests(mark)) == 1, "the first node asks")
    with ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        waiting = [pool.submit(ask, cluster, 1 + at % 2, key, "g", "slower") for at in range(8)]
        time.sleep(0.3)
        cluster.nodes[0].kill()
        answers = [one.result(30) for one in waiting]
    assert time.monotonic() - began < 4 + 4 + 2
    first.join()
    cluster.nodes[0].start()
    assert sorted(replayed(answer) for answer in answers) == [False] + [True] * 7
    assert len({answer.content for answer in answers}) == 1
    again = ask(cluster, 0, key, "g", "slower")
    assert (replayed(again), again.content) == (True, answers[0].content)
    assert len(provider.requests(mark)) == 2


def test_what_redis_has_forgotten_its_node_still_knows(
    cluster: Cluster, key: Key, provider: MockProvider, store: Any
) -> None:
    store.flushall()
    mark = provider.mark()
    assert not replayed(ask(cluster, 0, key, "h"))
    assert replayed(ask(cluster, 1, key, "h"))
    [name] = store.keys(NAMES)
    store.pexpire(name, 1)
    until(lambda: not store.exists(name), "it is over")
    assert replayed(ask(cluster, 0, key, "h"))
    assert not replayed(ask(cluster, 1, key, "h"))
    assert replayed(ask(cluster, 2, key, "h"))
    assert len(provider.requests(mark)) == 2


def test_what_is_not_ours_is_passed_over(cluster: Cluster, key: Key, store: Any) -> None:
    store.flushall()
    assert not replayed(ask(cluster, 0, key, "i"))
    until(lambda: store.keys(NAMES), "it is there")
    [name] = store.keys(NAMES)
    for value in (b"", b"garbage", b"ALR1" + bytes(200)):
        store.set(name, value)
        cluster.nodes[1].restart()
        # Without the others, the node remembers for itself.
        assert not replayed(ask(cluster, 1, key, "i"))
        assert replayed(ask(cluster, 1, key, "i"))
        assert store.get(name) == value


def shared(cluster: Cluster, key: Key) -> bool:
    """Whether every node asks the others: one that leaves Redis alone for a while still tells them."""
    names = [f"shared {node} {time.monotonic_ns()}" for node in range(NODES)]
    for node, name in enumerate(names):
        ask(cluster, node - 1, key, name)
    return all(replayed(ask(cluster, node, key, name)) for node, name in enumerate(names))


def alone(cluster: Cluster, key: Key, name: str) -> float:
    """Every node answers by itself and remembers that; the longest wait."""
    slowest = 0.0
    for number in range(6):
        for node in range(NODES):
            began = time.monotonic()
            assert not replayed(ask(cluster, node, key, f"{name} {number}"))
            slowest = max(slowest, time.monotonic() - began)
            assert replayed(ask(cluster, node, key, f"{name} {number}"))
    return slowest


def test_redis_that_stands_still_holds_nobody_up(cluster: Cluster, key: Key, server: RedisServer) -> None:
    until(lambda: shared(cluster, key), "the nodes know of one another", 20)
    before = repeats(cluster)
    server.child.freeze()
    try:
        slowest = alone(cluster, key, "frozen")
    finally:
        server.child.thaw()
    assert slowest < PATIENCE + 4
    # Who asks anew is the first for his node; whether it asked the others in vain or not at all, it says so.
    assert (repeats(cluster) - before)["alone"] == 6 * NODES
    until(lambda: shared(cluster, key), "the nodes know of one another again", 20)


def test_redis_that_dies_holds_nobody_up(
    cluster: Cluster, key: Key, server: RedisServer, provider: MockProvider
) -> None:
    until(lambda: shared(cluster, key), "the nodes know of one another", 20)
    mark = provider.mark()
    with ThreadPoolExecutor(NODES) as pool:
        under_way = [pool.submit(ask, cluster, node, key, "dies", "slower") for node in range(NODES)]
        until(lambda: provider.requests(mark), "one is under way")
        time.sleep(0.5)
        server.kill()
        began = time.monotonic()
        # Those who waited ask for themselves.
        until(lambda: len(provider.requests(mark)) == NODES, "all are under way")
        assert time.monotonic() - began < PATIENCE + 2
        assert not any(replayed(one.result(30)) for one in under_way)
    try:
        assert alone(cluster, key, "dead") < PATIENCE + 4
    finally:
        server.start()
    until(lambda: shared(cluster, key), "the nodes know of one another again", 20)


def test_a_server_that_has_forgotten_everything_is_told_again(
    cluster: Cluster, key: Key, provider: MockProvider, store: Any
) -> None:
    until(lambda: shared(cluster, key), "the nodes know of one another", 20)
    mark = provider.mark()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, cluster, 0, key, "j", "slower")
        until(lambda: provider.requests(mark), "it is under way")
        # Answers that were to be written to the server that was away come as well.
        [claim] = [name for name in store.keys(NAMES) if store.strlen(name) < 150]
        store.flushall()
        until(lambda: store.exists(claim), "the claim is renewed")
        answer = ask(cluster, 1, key, "j", "slower")
        assert replayed(answer)
        assert answer.content == first.result(20).content
    assert len(provider.requests(mark)) == 1
