"""Asks servers in the background what they serve, for models whose deployments say `discover`.

What a server answered last stays in force while it does not answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from ailink.background import end, goes_on
from ailink.providers import discovery
from ailink.providers.discovery import DiscoveryError, Found
from ailink.snapshot.compile import Asked

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 3.0
"""How long a start waits for the first answers."""


class Discoverer:
    """One per process. `changed` puts the configuration in force with what was found; it does not raise."""

    def __init__(self, changed: Callable[[], Awaitable[None]]) -> None:
        self._changed = changed
        self._asked: dict[str, Asked] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._found: dict[str, tuple[Found, ...]] = {}
        self._first: dict[str, asyncio.Event] = {}
        self._running = False

    def found(self) -> Mapping[str, tuple[Found, ...]]:
        """Id of a deployment → what its server serves. Without those that have not answered yet."""
        return dict(self._found)

    def use(self, asked: Iterable[Asked]) -> None:
        """Asks these from now on, and no others."""
        wanted = {one.id: one for one in asked}
        for id in [id for id, one in self._asked.items() if wanted.get(id) != one]:
            del self._asked[id], self._first[id]
            self._found.pop(id, None)
            if (task := self._tasks.pop(id, None)) is not None:
                task.cancel()
        for id, one in wanted.items():
            if id not in self._asked:
                self._asked[id], self._first[id] = one, asyncio.Event()
                if self._running:
                    self._begin(one)

    async def start(self) -> None:
        """Begins to ask, and waits a while for first answers."""
        self._running = True
        for one in self._asked.values():
            self._begin(one)
        waiting = [asyncio.create_task(first.wait()) for first in self._first.values()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=FIRST_SECONDS)
            for task in late:
                task.cancel()

    async def stop(self) -> None:
        await end(self._tasks.values())

    def _begin(self, one: Asked) -> None:
        self._tasks[one.id] = asyncio.create_task(self._keep(one, self._first[one.id]))

    async def _keep(self, one: Asked, first: asyncio.Event) -> None:
        failing = False
        while goes_on():
            try:
                found = tuple(await asyncio.to_thread(discovery.ask, one.base_url, one.headers))
            except DiscoveryError as error:
                if not failing:
                    log.warning("what %s serves is not known: %s", one.id, error)
                failing = True
            else:
                failing = False
                if found != self._found.get(one.id):
                    self._found[one.id] = found
                    log.info("%s serves %d models", one.base_url, len(found))
                    await self._changed()
            first.set()
            await asyncio.sleep(one.every / 1000)
