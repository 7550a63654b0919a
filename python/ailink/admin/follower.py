"""What other nodes changed, told to this node's data plane: a key that is blocked on one is blocked on all
within two seconds, with the database alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import msgspec

from ailink.admin.services import Services
from ailink.admin.subjects import Subject
from ailink.background import end, goes_on
from ailink.store import change_log
from ailink.store.change_log import What

log = logging.getLogger(__name__)

EVERY_S = 0.5
FORGET_S = 3_600.0


class Follower:
    """One per process. Call `begin` before rows are loaded, `start` when the plane holds them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen = 0
        self._forgot = 0.0
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Notes how far the log has come. Raises `DatabaseError`."""
        if self._services.database.dialect == "postgresql":
            self._seen = await change_log.last(self._services.database)

    def start(self) -> None:
        if self._services.database.dialect == "postgresql":
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])

    async def _run(self) -> None:
        while goes_on():
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
                self._failing = False
            # Nothing may end this task: this node would never hear again what others block.
            except Exception as error:  # noqa: BLE001
                if not self._failing:
                    log.error("changes of other nodes cannot be read and are caught up later: %s", error)
                self._failing = True

    async def once(self) -> None:
        """Catches up."""
        services = self._services
        await services.changes.settle()
        try:
            seen, what = await change_log.after(services.database, self._seen)
        except change_log.Gap:
            seen = await change_log.last(services.database)
            await self._everything()
            what = change_log.NOTHING
        if what != change_log.NOTHING:
            await self._apply(what)
        self._seen = seen
        now = asyncio.get_running_loop().time()
        if now - self._forgot > FORGET_S:
            self._forgot = now
            await change_log.forget(services.database, services.changes.now_us() - change_log.KEPT_US)

    async def _apply(self, what: What) -> None:
        services = self._services
        # With no change of this process under way: an older state must not overtake a newer one.
        async with services.database.quiet():
            subjects = [cast(Subject, subject) for subject in what.subjects]
            await services.changes.sync.push_subjects(services.database, subjects)
            await services.changes.sync.push(services.database, what.keys, what.digests, set())
            if what.credentials:
                services.plane.push_credentials(await services.credentials.load())
            if what.vault:
                services.plane.vault_forget()
            if what.config:
                await services.config.refresh()

    async def _everything(self) -> None:
        """After so long a silence that the log does not reach back: all that there is, told anew."""
        services = self._services
        log.warning("this node was away for so long that it reads all keys anew")
        async with services.database.quiet():
            services.plane.vault_forget()
            services.plane.push_credentials(await services.credentials.load())
            subjects = await services.changes.sync.load_subjects(services.database)
            await asyncio.to_thread(services.plane.apply_subjects, subjects, msgspec.msgpack.encode([]))
            async for rows in services.keys.load():
                await asyncio.to_thread(services.plane.upsert_keys, rows)
            await services.config.refresh()
