"""Several nodes and a real Redis: what a budget has left is found wherever it lies, and never spent twice."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
import redis

from ailink.coordination import link
from ailink.coordination.leases import Leases
from ailink.coordination.shapes import Grant, Options, Standing

DOLLAR = 10**12
CENT = DOLLAR // 100
# What is proved here is how nodes share, not how fast this machine is.
PATIENCE_S = 60.0
# In the data plane requests look again after 20 ms; here what nobody answers is noticed.
GLANCE_S = 15.0


class Node:
    """The data plane's part of one budget at a time, in few words: see `rust/core/src/kernel/lease.rs`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.away = False
        self._changed = asyncio.Event()
        self.begin("", 0)

    def begin(self, name: str, serial: int) -> None:
        self.name, self.serial = name, serial
        self.taken = self.granted = self._wanted = self._least = self._elsewhere = 0
        self._queued, self._exhausted, self._reported = False, 0.0, (-1, -1)
        self.unanswered = 0
        self._used = time.monotonic()

    async def spend(self, amount: int) -> bool:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if amount <= self.granted - self.taken:
                self.taken += amount
                self._used = time.monotonic()
                return True
            left = self.granted - self.taken
            if time.monotonic() < self._exhausted and amount > left + self._elsewhere:
                return False
            self._least = min(self._least, amount) if self._wanted else amount
            self._wanted += amount
            if not self._queued:
                self._queued = True
                os.eventfd_write(self._fd, 1)
            try:
                await asyncio.wait_for(self._changed.wait(), GLANCE_S)
            except TimeoutError:
                self.unanswered += 1
        return False

    def close(self) -> None:
        os.close(self._fd)

    def _standing(self, wanted: int = 0, least: int = 0) -> Standing:
        return Standing(
            kind="key", id=self.name, serial=self.serial, metric="spend", models=None, max=DOLLAR,
            window={"kind": "lifetime"}, period=2**63 - 1, taken=self.taken, granted=self.granted,
            wanted=wanted, least=least, idle_ms=int((time.monotonic() - self._used) * 1_000),
        )  # fmt: skip

    # ── what `Leases` asks of the data plane ─────────────────────────────────────────────────────────────

    def lease_fd(self) -> int:
        return self._fd

    def lease_calls(self) -> bytes:
        os.eventfd_read(self._fd)
        calls = [self._standing(self._wanted, self._least)] if self._queued else []
        self._wanted = self._least = 0
        self._queued = False
        return msgspec.msgpack.encode(calls)

    def lease_report(self, which: str) -> bytes:
        changed = self._reported != (self.taken, self.granted)
        self._reported = (self.taken, self.granted)
        tell = self.name and (which != "changed" or changed or self.granted > self.taken)
        return msgspec.msgpack.encode([self._standing()] if tell else [])

    def lease_grant(self, grants: bytes) -> None:
        for grant in msgspec.msgpack.decode(grants, type=list[Grant]):
            if grant.serial == self.serial:
                self.granted = grant.granted
                again = grant.exhausted_ms
                self._exhausted = 0.0 if again is None else time.monotonic() + again[0] / 1_000
                self._elsewhere = grant.elsewhere
        self._changed.set()
        self._changed = asyncio.Event()

    def lease_shrink(self, leases: bytes) -> bytes:
        mine = [row for row in msgspec.msgpack.decode(leases) if row[2] == self.serial]
        for *_, keep in mine:
            kept = min(self.granted, self.taken + keep)
            self._elsewhere += self.granted - kept
            self.granted = kept
        return msgspec.msgpack.encode([self._standing()] if mine else [])

    def lease_heard(self, online: bool, valid_s: float | None) -> None:
        # Looked at by the test: what fails here ends a task of `Leases`, and nobody is answered any more.
        self.away |= not online


Work = Callable[[list[Node]], Coroutine[Any, Any, None]]


def with_nodes(redis_url: str, count: int, work: Work, make: Callable[[], Node] = Node) -> None:
    async def run() -> None:
        nodes = [make() for _ in range(count)]
        named = enumerate(nodes)
        ends = [Leases(node, Options(url=redis_url, node=str(at), ttl_ms=60_000)) for at, node in named]
        for end in ends:
            end.start()
        try:
            await work(nodes)
        finally:
            for end in ends:
                await end.stop()
            for node in nodes:
                node.close()

    asyncio.run(run())


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers in a row that take half a second are an outage, which is not what is to be tried: nobody
    gets anything from then on.
    """
    monkeypatch.setattr(link, "ANSWER_S", PATIENCE_S)


@pytest.mark.alone
@pytest.mark.usefixtures("slow_machine")
@pytest.mark.parametrize("amount", [CENT, CENT * 3, CENT // 7])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_last_of_a_budget_is_never_stranded(redis_url: str, count: int, amount: int) -> None:
    """All nodes are short of it at once, and each holds a part that is too little for any request."""

    async def work(nodes: list[Node]) -> None:
        for round_ in range(4):
            for node in nodes:
                node.begin(f"k{round_}", round_ + 1)
            most = DOLLAR // amount
            callers = [nodes[at % count].spend(amount) for at in range(most + 60)]
            admitted = await asyncio.gather(*callers)
            assert not any(node.away for node in nodes), "Redis answered all the time"
            assert sum(admitted) == most
            assert sum(node.taken for node in nodes) == most * amount
            assert not await nodes[0].spend(amount)
            assert not any(node.unanswered for node in nodes), (
                "each was told: its share, or that there is no more"
            )

    with_nodes(redis_url, count, work)


def test_a_slow_answer_is_no_outage(redis_url: str) -> None:
    """The one who waits for a share gets it, and does not hear that Redis is away."""

    async def work(nodes: list[Node]) -> None:
        nodes[0].begin("k", 1)
        assert await nodes[0].spend(CENT)
        with redis.Redis.from_url(redis_url) as client:
            client.execute_command("CLIENT", "PAUSE", "700", "ALL")
        assert await nodes[0].spend(DOLLAR // 2)
        assert not nodes[0].away

    with_nodes(redis_url, 1, work)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01])
def test_a_node_that_is_stopped_while_it_connects_ends(redis_url: str, after_s: float) -> None:
    async def work(nodes: list[Node]) -> None:
        await asyncio.sleep(after_s)

    began = time.monotonic()
    with_nodes(redis_url, 5, work)
    assert time.monotonic() - began < 10


def test_a_node_ends_although_its_client_swallows_every_cancellation() -> None:
    class Deaf:
        """Answers at once when it is cancelled: as if the answer had been there in the same moment."""

        def __init__(self) -> None:
            self.calls, self.called = 0, asyncio.Event()

        async def eval(self, *_: object) -> bytes:
            self.calls += 1
            self.called.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)
            return b'{"rows": []}'

        evalsha = eval

        async def aclose(self) -> None:
            return None

    async def run() -> int:
        node, client = Node(), Deaf()
        leases = Leases(node, Options(url="redis://127.0.0.1:1/0", node="n", ttl_ms=60_000))
        leases._client = client
        leases.start()
        await client.called.wait()
        await asyncio.wait_for(leases.stop(), 5)
        node.close()
        return client.calls

    assert asyncio.run(run()) <= 5
