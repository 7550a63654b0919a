"""Attempts, and verdicts, that are older than `ledger.keep` are removed; their sums per day stay for ever.

Each node removes from its own `ledger.db` what it has sent. From PostgreSQL one node at a time drops whole
months, as soon as the last day of one is old enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from typing import Protocol

from ailink.background import end, goes_on
from ailink.ledger.ship import Shipper, month
from ailink.store import leaders
from ailink.store.database import Database, DatabaseError

log = logging.getLogger(__name__)

TASK = "ledger retention"
EVERY_S = 3_600.0
HOLD_US = 60_000_000
# So many rows at a time: what is settled meanwhile waits for some milliseconds.
BATCH = 2_000
_PARTITIONS = """
    SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = 'attempt' AND p.relnamespace = c.relnamespace
"""
_NAME = re.compile(r"attempt_(\d{4})(\d{2})")


class Forgetting(Protocol):
    """The part of the data plane that is used here."""

    def ledger_forget(self, before_us: int, most: int) -> int: ...


class Retention:
    """One background task per process. `shipper`: where the ledger of all nodes is PostgreSQL."""

    def __init__(self, plane: Forgetting, database: Database, shipper: Shipper | None, keep_us: int) -> None:
        self._plane = plane
        self._database = database
        self._shipper = shipper
        self._keep_us = keep_us
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])

    async def _run(self) -> None:
        while goes_on():
            try:
                await self.once(time.time_ns() // 1_000)
            except (DatabaseError, RuntimeError, TimeoutError) as error:
                log.warning("old attempts cannot be removed and stay for now: %s", error)
            await asyncio.sleep(EVERY_S)

    async def once(self, now_us: int) -> int:
        """How many attempts of this node, and months of all nodes, were removed.

        Raises `DatabaseError`, RuntimeError, TimeoutError.
        """
        before_us = now_us - self._keep_us
        if self._shipper is not None:
            # What is not sent yet is kept.
            await self._shipper.once()
        removed, part = 0, BATCH
        while part == BATCH:
            part = await asyncio.to_thread(self._plane.ledger_forget, before_us, BATCH)
            removed += part
        if self._shipper is not None:
            removed += await self._drop_months(before_us)
        if removed:
            log.info("%s attempts, or months of them, were removed from the ledger", removed)
        return removed

    async def _drop_months(self, before_us: int) -> int:
        term = await leaders.claim(self._database, TASK, HOLD_US)
        if term is None:
            return 0
        names = [str(row["name"]) for row in await self._database.fetch(_PARTITIONS)]
        old = [name for name in names if (end := _end(name)) is not None and end <= before_us]
        dropped = 0
        with contextlib.suppress(leaders.DeposedError):
            async with self._database.transaction() as queries:
                await leaders.check(queries, term)
                await queries.execute("DELETE FROM verdict WHERE at_us < ?", (before_us,))
            for name in sorted(old):
                async with self._database.transaction() as queries:
                    await leaders.check(queries, term)
                    await queries.execute(f"DROP TABLE IF EXISTS {name}")
                dropped += 1
        return dropped


def _end(name: str) -> int | None:
    """The first microsecond after a month's partition."""
    match = _NAME.fullmatch(name)
    return None if match is None else month(int(match[1]) * 12 + int(match[2]))
