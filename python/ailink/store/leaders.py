"""Tasks that one process of all nodes does at a time.

Who holds a task may be frozen and go on when another has taken over. So every holder has a number, its fence,
which grows with each change of hands: what he writes asks for it in the same transaction, and nothing is
written by one who was deposed. Times are the database's, so that clocks of nodes do not matter.
"""

from __future__ import annotations

import time

import msgspec

from ailink.store.change_log import PROCESS
from ailink.store.database import Database, Queries

_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us"


class DeposedError(Exception):
    """Another process has the task now."""


class Term(msgspec.Struct, frozen=True, kw_only=True):
    task: str
    fence: int


async def claim(database: Database, task: str, hold_us: int, holder: str = PROCESS) -> Term | None:
    """The task for so long, or longer if it is this process's already; None: another has it."""
    async with database.transaction() as queries:
        now_us = await time_us(database, queries)
        row = await queries.fetchrow("SELECT holder, fence, until_us FROM leader WHERE task = ?", (task,))
        if row is None:
            await queries.execute(
                "INSERT INTO leader (task, holder, fence, until_us) VALUES (?, ?, 1, ?)",
                (task, holder, now_us + hold_us),
            )
            return Term(task=task, fence=1)
        if row["holder"] != holder and row["until_us"] > now_us:
            return None
        fence = int(row["fence"]) + (row["holder"] != holder)
        await queries.execute(
            "UPDATE leader SET holder = ?, fence = ?, until_us = ? WHERE task = ?",
            (holder, fence, now_us + hold_us, task),
        )
        return Term(task=task, fence=fence)


async def check(queries: Queries, term: Term) -> None:
    """In the transaction of what is done. Raises DeposedError."""
    row = await queries.fetchrow("SELECT fence FROM leader WHERE task = ?", (term.task,))
    if row is None or row["fence"] != term.fence:
        raise DeposedError(f"another process does `{term.task}` now")


async def time_us(database: Database, queries: Queries) -> int:
    """µs since 1970 by the clock that all nodes share."""
    if database.dialect == "sqlite":
        return time.time_ns() // 1_000
    row = await queries.fetchrow(_NOW)
    return 0 if row is None else int(row["now_us"])
