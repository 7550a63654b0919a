"""Leases over a cluster of Redis and behind sentinels: a budget is spent to the last cent and no further,
also when a failover comes between.
"""

import asyncio
import time
from collections.abc import Iterator

import pytest
from tests.harness.redis_sets import RedisCluster, RedisSentinels
from tests.unit.coordination.test_sharing import CENT, DOLLAR, Node, with_nodes


class Patient(Node):
    """Knows that Redis may be away for a while."""

    def lease_heard(self, online: bool, valid_s: float | None) -> None:
        pass


@pytest.fixture(scope="module", params=[RedisCluster, RedisSentinels], ids=["cluster", "sentinels"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisCluster | RedisSentinels]:
    with request.param(tmp_path_factory.mktemp("redis")) as running:
        yield running


def test_a_budget_is_shared(servers: RedisCluster | RedisSentinels) -> None:
    async def work(nodes: list[Node]) -> None:
        for node in nodes:
            node.begin("shared", 1)
        admitted = await asyncio.gather(*(nodes[at % 3].spend(CENT) for at in range(130)))
        assert sum(admitted) == 100
        assert sum(node.taken for node in nodes) == DOLLAR

    with_nodes(servers.url, 3, work)


def test_a_failover_admits_nothing_twice(servers: RedisCluster | RedisSentinels) -> None:
    async def work(nodes: list[Node]) -> None:
        for node in nodes:
            node.begin("failing", 1)
        assert all(await asyncio.gather(*(nodes[at % 3].spend(CENT) for at in range(39))))
        meanwhile = asyncio.create_task(asyncio.to_thread(servers.fail_over))
        end = time.monotonic() + 20
        while sum(node.taken for node in nodes) < DOLLAR and time.monotonic() < end:
            await asyncio.gather(*(node.spend(CENT) for node in nodes))
        await meanwhile
        assert sum(node.taken for node in nodes) == DOLLAR
        assert not await nodes[0].spend(CENT)

    # As many as before: one that was there and does not speak would be waited for.
    with_nodes(servers.url, 3, work, Patient)
