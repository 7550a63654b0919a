"""The second tier in a real Redis: shared by nodes, and but a miss when something is wrong with it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.cache_nodes import MASTER, SEAL, ask, call, running_nodes, tier, told
from tests.harness.certificates import write_signed
from tests.harness.flood import Raw, flood
from tests.harness.process import free_port
from tests.harness.servers import RedisServer

PREFIX = "ailink:cache:"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def store(server: RedisServer) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


def config(provider: MockProvider, url: str, **settings: Any) -> dict[str, Any]:
    models = [
        make_model("m", make_deployment(provider, "echo"), cache={"scope": "shared"}),
        make_model("slow", make_deployment(provider, "latency=1500;echo"), cache={"scope": "shared"}),
        make_model("slower", make_deployment(provider, "latency=4000;echo"), cache={"scope": "shared"}),
        make_model("drips", make_deployment(provider, "echo;gap=20"), cache={"scope": "shared"}),
    ]
    cache = {"enabled": True, "ttl": "1h", "redis": {"url": url, **settings}}
    return make_config(*models, cache=cache, master_key=MASTER, encryption_key=SEAL)


@pytest.fixture(scope="module")
def nodes(
    provider: MockProvider, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Gateway]]:
    # A second of patience: what is proved here is what the tier does, not how fast this machine is.
    settings = config(provider, server.url, timeout="1s")
    with running_nodes(tmp_path_factory, settings, 3) as running:
        yield running


def entries(store: Any) -> list[bytes]:
    return sorted(store.keys(f"{PREFIX}e:*"))


def written(store: Any, count: int) -> None:
    until(lambda: len(entries(store)) >= count, f"{count} entries in Redis")


def test_nodes_share_answers(nodes: list[Gateway], store: Any) -> None:
    store.flushall()
    first = ask(nodes[0], "for all nodes")
    written(store, 1)
    second = ask(nodes[1], "for all nodes")
    assert (told(first), told(second), first.content == second.content) == ("miss", "hit", True)
    streamed = ask(nodes[2], "for all nodes", stream=True)
    assert told(streamed) == "hit"
    [name] = entries(store)
    value = store.get(name)
    assert b"for all nodes" not in value
    assert b"choices" not in value
    assert 0 < store.pttl(name) <= 3_600_000
    assert first.headers["x-ailink-cache-key"].encode() in name
    info = call(nodes[1], "/cache/redis/info")
    assert (info["tier"]["hits"], info["info"]["redis_mode"]) == (1, "standalone")


def test_a_restart_keeps_answers(nodes: list[Gateway], store: Any) -> None:
    ask(nodes[0], "survives")
    written(store, 1)
    nodes[0].restart()
    assert told(ask(nodes[0], "survives")) == "hit"


@pytest.mark.parametrize("stream", [False, True])
def test_three_thousand_equal_requests_are_one(
    nodes: list[Gateway], provider: MockProvider, stream: bool
) -> None:
    async def everywhere() -> list[list[Raw]]:
        body = chat("slow", f"a thousand on each {stream}", stream=stream)
        return await asyncio.gather(*(flood(node.port, MASTER, body, 1000) for node in nodes))

    mark = provider.mark()
    answers = [answer for node in asyncio.run(everywhere()) for answer in node]
    assert len(answers) == 3000
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert [answer.cache for answer in answers].count("miss") == 1
    assert len(provider.requests(since=mark)) == 1


def test_a_slow_answer_is_waited_for(nodes: list[Gateway], provider: MockProvider) -> None:
    """The right to ask ends by itself before the answer comes: it is prolonged."""

    async def everywhere() -> list[Raw]:
        body = chat("slower", "takes its time")
        return [answer for [answer] in await asyncio.gather(*(flood(n.port, MASTER, body, 1) for n in nodes))]

    mark = provider.mark()
    answers = asyncio.run(everywhere())
    assert [answer.status for answer in answers] == [200] * 3
    assert sorted(answer.cache for answer in answers) == ["hit", "hit", "miss"]
    assert len(provider.requests(since=mark)) == 1


def test_a_node_that_dies_is_succeeded(nodes: list[Gateway], provider: MockProvider) -> None:
    """A thousand wait on each of the others; one of them asks when the right of the dead one has ended."""
    mark = provider.mark()
    body = chat("slower", "its node dies")

    def leads() -> None:
        with contextlib.suppress(httpx.HTTPError):
            ask(nodes[0], "its node dies", "slower")

    leader = threading.Thread(target=leads)
    leader.start()
    until(lambda: len(provider.requests(since=mark)) == 1, "the first node asks")
    waiting = threading.Semaphore(0)
    dies = threading.Thread(target=lambda: [waiting.acquire() for _ in nodes[1:]] and nodes[0].kill())
    dies.start()

    async def others() -> list[Raw]:
        floods = (flood(node.port, MASTER, body, 1000, waiting.release) for node in nodes[1:])
        return [answer for answers in await asyncio.gather(*floods) for answer in answers]

    answers = asyncio.run(others())
    leader.join()
    dies.join()
    nodes[0].start()
    assert len(answers) == 2000
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(provider.requests(since=mark)) == 2


def test_a_purge_reaches_all_nodes(nodes: list[Gateway], store: Any) -> None:
    for node in nodes:
        ask(node, "purged everywhere")
    assert call(nodes[0], "/cache/purge", {"model": "m"})["deleted"] >= 1
    assert entries(store) == [] or all(b"slow" not in name for name in entries(store))
    # The others look every second.
    until(lambda: call(nodes[1], "/cache/stats")["entries"] == 0, "the second node's memory is empty")
    assert told(ask(nodes[1], "purged everywhere")) == "miss"


def test_a_purge_during_a_fill_does_not_bring_the_entry_back(
    nodes: list[Gateway], provider: MockProvider, store: Any
) -> None:
    mark = provider.mark()
    filling = threading.Thread(target=lambda: ask(nodes[0], "being filled", "slow"))
    filling.start()
    until(lambda: provider.requests(since=mark), "the provider is asked")
    call(nodes[0], "/cache/flushall", {})
    filling.join()
    time.sleep(0.2)
    assert entries(store) == []


def test_what_is_not_ours_is_a_miss(nodes: list[Gateway], store: Any) -> None:
    def kept(text: str) -> str:
        """The name of an answer that Redis has; one that a purge overtook is asked for again."""
        name = ""

        def asked() -> bool:
            nonlocal name
            name = f"{PREFIX}e:{ask(nodes[0], text).headers['x-ailink-cache-key']}"
            time.sleep(0.02)
            return bool(store.exists(name))

        until(asked, "the answer is in Redis")
        return name

    for value in (b"", b"garbage", b"ALC1" + bytes(200), b"\xff" * 5000):
        text = f"damaged {len(value)}"
        store.set(kept(text), value)
        assert told(ask(nodes[1], text)) == "miss"
    # Another entry's value under this key: its tag does not fit.
    one, two = kept("one"), kept("two")
    store.set(two, store.get(one))
    swapped = ask(nodes[1], "two")
    assert (told(swapped), "two" in swapped.text) == ("miss", True)
    assert tier(nodes[1])["foreign"] >= 5


@pytest.fixture
def alone(provider: MockProvider, tmp_path: Path) -> Iterator[tuple[Gateway, RedisServer]]:
    with (
        RedisServer(tmp_path / "redis") as server,
        Gateway(tmp_path / "gateway", config(provider, server.url, timeout="50ms")) as gateway,
    ):
        yield gateway, server


def quick(gateway: Gateway, text: str) -> tuple[str, float]:
    began = time.monotonic()
    answer = ask(gateway, text)
    return told(answer), time.monotonic() - began


def test_redis_behind_tls(provider: MockProvider, tmp_path: Path) -> None:
    authority, certificate, key = write_signed(tmp_path)
    secure = free_port()
    files = {"cert": certificate, "key": key, "ca-cert": authority}
    options = ["--tls-port", str(secure), "--tls-auth-clients", "no"]
    options += [text for name, file in files.items() for text in (f"--tls-{name}-file", str(file))]
    with RedisServer(tmp_path / "redis", *options):
        url = f"rediss://127.0.0.1:{secure}/0"
        trusting = config(provider, url, timeout="1s", ca_file=str(authority))
        with Gateway(tmp_path / "trusting", trusting) as gateway:
            ask(gateway, "behind TLS")
            until(lambda: tier(gateway)["writes"] >= 2, "the answer is written")
            gateway.restart()
            assert told(ask(gateway, "behind TLS")) == "hit"
        # An authority nobody knows: a miss, and no error.
        with Gateway(tmp_path / "wary", config(provider, url, timeout="1s")) as gateway:
            assert told(ask(gateway, "behind TLS")) == "miss"
            assert tier(gateway)["hits"] == 0


def test_redis_down_is_a_miss(alone: tuple[Gateway, RedisServer]) -> None:
    gateway, server = alone
    assert told(ask(gateway, "before")) == "miss"
    server.kill()
    for number in range(12):
        assert quick(gateway, f"down {number}")[0] == "miss"
    # Memory goes on, and after some failures the tier is left alone.
    assert told(ask(gateway, "down 1")) == "hit"
    found = tier(gateway)
    assert found["open"]
    assert found["skipped"] > 0
    server.start()
    client = redis.Redis.from_url(server.url)

    def back() -> bool:
        ask(gateway, f"back {time.monotonic_ns()}")
        return bool(entries(client))

    until(back, "the tier is used again")
    client.close()


def test_redis_that_stands_still_costs_its_time_out_only(alone: tuple[Gateway, RedisServer]) -> None:
    gateway, server = alone
    ask(gateway, "warm")
    server.child.freeze()
    try:
        began = time.monotonic()
        answers = [quick(gateway, f"frozen {number}") for number in range(20)]
        elapsed = time.monotonic() - began
    finally:
        server.child.thaw()
    assert {what for what, _ in answers} == {"miss"}
    # Five reads of 50 ms and then none: far below one time-out for each of twenty.
    assert elapsed < 20 * 0.5
    # Each request waits once: five in a row, and it is left alone for five seconds.
    rounds = 1 + int(elapsed // 5)
    assert 1 <= tier(gateway)["timeouts"] <= 5 * rounds


def test_redis_that_is_full_is_not_written(provider: MockProvider, tmp_path: Path) -> None:
    full = ("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    with (
        RedisServer(tmp_path / "redis", *full) as server,
        Gateway(tmp_path / "gateway", config(provider, server.url, timeout="1s")) as gateway,
    ):
        assert told(ask(gateway, "no room")) == "miss"
        assert told(ask(gateway, "no room")) == "hit"
        until(lambda: tier(gateway)["errors"] >= 1, "the failed write is counted")
