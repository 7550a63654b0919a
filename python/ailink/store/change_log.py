"""What changed, for the other nodes: read on from the last number known. Only on PostgreSQL: a database of
one process has no other nodes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import msgspec

from ailink.store.database import Database, Queries

# Names this process among all that write.
PROCESS = secrets.token_hex(8)
KEPT_US = 24 * 3_600 * 1_000_000
MOST = 1_000

_INSERT = """
    INSERT INTO change_log (seq, trace_id, at_us, node, what)
    SELECT COALESCE(MAX(seq), 0) + 1, ?, ?, ?, ? FROM change_log
"""


class What(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Names only: whoever reads it looks up how they stand now."""

    keys: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    subjects: tuple[tuple[str, str], ...] = ()
    credentials: bool = False
    config: bool = False
    vault: bool = False

    def plus(self, other: What) -> What:
        return What(
            keys=(*self.keys, *other.keys),
            digests=(*self.digests, *other.digests),
            subjects=(*self.subjects, *other.subjects),
            credentials=self.credentials or other.credentials,
            config=self.config or other.config,
            vault=self.vault or other.vault,
        )


NOTHING = What()


class Gap(Exception):
    """Rows between the last one known and the first one kept were removed: everything has to be read anew."""


async def append(database: Database, queries: Queries, what: What, trace_id: str | None, now_us: int) -> None:
    """In the transaction of the change. Does nothing where there are no other nodes."""
    if database.dialect == "postgresql" and what != NOTHING:
        text = msgspec.json.encode(what).decode()
        await queries.execute(_INSERT, (trace_id, now_us, PROCESS, text))


async def last(queries: Queries) -> int:
    row = await queries.fetchrow("SELECT COALESCE(MAX(seq), 0) AS last FROM change_log")
    return 0 if row is None else int(row["last"])


async def after(queries: Queries, seq: int) -> tuple[int, What]:
    """The number of the last row, and what other processes changed since `seq`. Raises `Gap`."""
    sql = "SELECT seq, node, what FROM change_log WHERE seq > ? ORDER BY seq LIMIT ?"
    rows = await queries.fetch(sql, (seq, MOST))
    if not rows:
        return seq, NOTHING
    if rows[0]["seq"] != seq + 1:
        raise Gap
    return rows[-1]["seq"], joined(
        msgspec.json.decode(row["what"], type=What) for row in rows if row["node"] != PROCESS
    )


def joined(parts: Iterable[What]) -> What:
    found = NOTHING
    for part in parts:
        found = found.plus(part)
    return found


async def forget(queries: Queries, before_us: int) -> int:
    """Removes old rows, but never the newest: numbers go on from it."""
    sql = "DELETE FROM change_log WHERE at_us < ? AND seq < (SELECT MAX(seq) FROM change_log)"
    return await queries.execute(sql, (before_us,))
