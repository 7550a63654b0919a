"""What several nodes know of deployments, told to one another every second: requests in flight, used quota,
and how long a provider wished to be left alone. What is older than three seconds counts for nothing, so that
a node that is gone, or Redis, leaves each with what it knows itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import Protocol

from ailink.background import end, goes_on
from ailink.coordination import link

log = logging.getLogger(__name__)

EVERY_S = 1.0
STALE_S = 3.0
GONE_S = 60.0
NODES = f"{link.BASE}:routing"
_NUMBER = 8
"""Bytes in front of what a node tells: a number that is another each time."""


class RoutingPlane(Protocol):
    """The part of the data plane that this module uses."""

    def routing_state(self) -> bytes: ...
    def take_routing_state(self, nodes: list[bytes]) -> None: ...


class SharedRouting:
    """Make it in the event loop."""

    def __init__(self, plane: RoutingPlane, url: str) -> None:
        self._plane = plane
        self._client = link.connect(url)
        self._name = secrets.token_hex(8).encode()
        self._heard: dict[bytes, tuple[bytes, float]] = {}
        """By node: the number of what it told last, and when that was new here."""
        self._told = 0
        self._trouble = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Takes back what it told."""
        if self._task is not None:
            await end([self._task])
        with contextlib.suppress(*link.TROUBLE):
            await self._client.hdel(NODES, self._name)
        with contextlib.suppress(*link.TROUBLE):
            await link.close(self._client)

    async def _run(self) -> None:
        while goes_on():
            try:
                await self._once(time.monotonic())
                self._trouble = False
            except link.TROUBLE as error:
                if not self._trouble:
                    log.warning("what is known of deployments is not shared: %s", error)
                self._trouble = True
            await asyncio.sleep(EVERY_S)

    async def _once(self, now: float) -> None:
        self._told += 1
        told = self._told.to_bytes(_NUMBER, "big") + self._plane.routing_state()
        await self._client.hset(NODES, self._name, told)
        await self._client.expire(NODES, int(GONE_S))
        nodes = await self._client.hgetall(NODES)
        fresh = self.fresh(nodes, now)
        with contextlib.suppress(ValueError):  # of another version
            self._plane.take_routing_state(fresh)
        gone = [name for name, (_, since) in self._heard.items() if now - since > GONE_S]
        for name in gone:
            del self._heard[name]
            await self._client.hdel(NODES, name)

    def fresh(self, nodes: dict[bytes, bytes], now: float) -> list[bytes]:
        """What the others told lately. No clock but this node's own is asked."""
        found = []
        for name, told in nodes.items():
            if name == self._name:
                continue
            number = told[:_NUMBER]
            known = self._heard.get(name)
            if known is None or known[0] != number:
                self._heard[name] = (number, now)
            if now - self._heard[name][1] < STALE_S:
                found.append(told[_NUMBER:])
        return found
