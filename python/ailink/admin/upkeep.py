"""What becomes due by itself: scheduled rotations, the end of former secrets and of temporary budgets, last
uses of keys that are to be written down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ailink.admin.budget_handlers import users_of
from ailink.admin.call import Caller
from ailink.admin.endings import Endings
from ailink.admin.key_uses import KeyUses
from ailink.admin.mirror_pairs import MirrorPairs
from ailink.admin.route_samples import Samples, take_back
from ailink.admin.services import Services
from ailink.admin.subjects import TABLES
from ailink.background import end, goes_on
from ailink.store import client_secrets, keys
from ailink.store.database import DatabaseError
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.tenancy import budgets

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
# Who the audit log says it was.
SCHEDULER = Caller(role="admin", key_id="scheduler")


class Upkeep:
    """One background task per process. Each step stands for itself: one that fails is tried again."""

    def __init__(self, services: Services, routers: Callable[[], tuple[Path, Mapping[str, str]]]) -> None:
        """`routers`: where routers are kept, and which model uses which."""
        self._services = services
        self._routers = routers
        self._uses = KeyUses(services.plane)
        self._samples = Samples(services.changes.now_us())
        self._mirrors = MirrorPairs(services.changes.now_us())
        self._endings = Endings(services.database, services.config, services.alerts, services.changes.now_us)
        self._task: asyncio.Task[None] | None = None
        self._seen_us = services.changes.now_us()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])
        try:
            await self._uses.write(self._services.database)
        except DatabaseError as error:
            log.warning("last uses of keys are not written down: %s", error)

    async def _run(self) -> None:
        while goes_on():
            await asyncio.sleep(EVERY_SECONDS)
            await self.once()

    async def once(self) -> None:
        """Does all that is due."""
        for name, step in self._steps():
            try:
                await step()
            # Nothing may end this task, nor keep the other steps: keys would not be rotated any more.
            except Exception as error:
                log.error("upkeep: %s failed and is tried again: %s", name, error, exc_info=error)

    def _steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
        services, database = self._services, self._services.database
        now_us = services.changes.now_us

        async def forget_ended() -> None:
            services.changes.sync.forget_ended()

        return (
            ("writing last uses of keys", lambda: self._uses.write(database)),
            ("rotating keys", lambda: services.keys.rotate_due(SCHEDULER)),
            ("ending former secrets", lambda: services.keys.forget_old_secrets(SCHEDULER)),
            ("ending temporary budgets", self._end_increases),
            ("writing routes", lambda: self._samples.write(database, now_us())),
            ("writing comparisons of mirrors", lambda: self._mirrors.write(database, now_us())),
            ("following switches", services.switching.follow),
            ("forgetting tokens of the vault", services.vault.forget_old),
            ("forgetting old responses", services.stored.forget_old),
            ("telling of shutdowns", self._endings.once),
            ("forgetting what has ended", forget_ended),
            ("forgetting client secrets", lambda: client_secrets.forget(database, now_us())),
            ("taking routers back", lambda: take_back(database, *self._routers())),
        )

    def listen(self, event: Mapping[str, Any]) -> None:
        """Takes an event of the data plane."""
        self._samples.listen(event, self._services.changes.now_us())
        self._mirrors.listen(event, self._services.changes.now_us())

    async def _end_increases(self) -> None:
        """Tells the plane of budgets whose temporary increase has ended since the last look."""
        before, now_us = self._seen_us, self._services.changes.now_us()

        def ended(at_us: int | None) -> bool:
            return at_us is not None and before < at_us <= now_us

        where = Match(where="settings LIKE ?", params=["%temp_budget_expiry_us%"])
        database = self._services.database
        subjects = [
            (kind, row.id)
            for kind, rows in TABLES.items()
            for row in await rows.find(database, EVERYWHERE, where)
            if ended(row.settings.temp_budget_expiry_us)
        ]
        holding = [
            key.id
            for key in await keys.with_temporary_budget(database)
            if ended(key.settings.temp_budget_expiry_us)
        ]
        shared = [
            row.id
            for row in await budgets.find(database, EVERYWHERE, where)
            if ended(row.settings.temp_budget_expiry_us)
        ]
        if subjects or holding or shared:
            async with self._services.changes.make(SCHEDULER) as change:
                change.touch(holding)
                for kind, row_id in subjects:
                    change.touch_subject(kind, row_id)
                for row_id in shared:
                    await users_of(change, row_id)
        # Only now: what failed half-way is looked at again.
        self._seen_us = now_us
