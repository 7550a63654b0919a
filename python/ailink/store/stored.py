"""Responses and conversations of all nodes, in PostgreSQL. Documents come sealed and go sealed.

Everything is asked for by its owner, so that what is another's is not there. The time of makers is the
database's, so that clocks of nodes do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

from ailink.store.database import Queries, Row

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_MOST = 500

_PUT = """
    INSERT INTO stored_object (owner, kind, id, document, state, maker, expires_us)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (owner, kind, id) DO UPDATE SET
        document = excluded.document, state = excluded.state, maker = excluded.maker,
        expires_us = excluded.expires_us
"""
_END = """
    UPDATE stored_object SET document = ?, state = ?, expires_us = ?
    WHERE owner = ? AND kind = 'response' AND id = ? AND state IN ('making', ?)
"""
_GET = f"""
    SELECT o.document, o.state, o.maker, COALESCE(m.until_us > {_NOW}, FALSE) AS alive
    FROM stored_object o LEFT JOIN stored_maker m ON m.process = o.maker AND o.state <> ''
    WHERE o.owner = ? AND o.kind = ? AND o.id = ? AND o.expires_us > {_NOW}
"""
_APPEND = """
    INSERT INTO stored_item (owner, conversation, id, mark, place, document) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (owner, conversation, mark, place) DO NOTHING
"""
_RENEW = f"""
    INSERT INTO stored_maker (process, until_us) VALUES (?, {_NOW} + ?::bigint)
    ON CONFLICT (process) DO UPDATE SET until_us = excluded.until_us
"""


async def put(
    queries: Queries, key: tuple[str, str, str], document: bytes, maker: str | None, expires_us: int
) -> None:
    """`key`: owner, kind, id. `maker`: who is at it still."""
    state = "" if maker is None else "making"
    await queries.execute(_PUT, (*key, document, state, maker, expires_us))


async def end(
    queries: Queries, owner: str, response: str, document: bytes, expires_us: int, *, lost: bool
) -> int:
    """How a response ended that was being made; 1, or 0 when it is not any more. What its maker says counts,
    also of one that was taken for lost.
    """
    states = ("lost", "making") if lost else ("", "lost")
    return await queries.execute(_END, (document, states[0], expires_us, owner, response, states[1]))


async def get(queries: Queries, owner: str, kind: str, id: str) -> Row | None:
    return await queries.fetchrow(_GET, (owner, kind, id))


async def is_there(queries: Queries, owner: str, kind: str, id: str) -> bool:
    sql = "SELECT 1 AS one FROM stored_object WHERE owner = ? AND kind = ? AND id = ? FOR UPDATE"
    return await queries.fetchrow(sql, (owner, kind, id)) is not None


async def append(
    queries: Queries,
    conversation: tuple[str, str],
    mark: str,
    items: Sequence[tuple[str, bytes]],
    expires_us: int,
) -> int:
    """Adds to a conversation (owner, id) that is there, which is kept anew from now on; 1, or 0."""
    kept = "UPDATE stored_object SET expires_us = ? WHERE owner = ? AND kind = 'conversation' AND id = ?"
    if await queries.execute(kept, (expires_us, *conversation)) == 0:
        return 0
    rows = [(*conversation, id, mark, place, document) for place, (id, document) in enumerate(items)]
    if rows:
        await queries.executemany(_APPEND, rows)
    return 1


async def items(queries: Queries, owner: str, conversation: str) -> list[Row]:
    sql = "SELECT id, document FROM stored_item WHERE owner = ? AND conversation = ? ORDER BY number"
    return await queries.fetch(sql, (owner, conversation))


async def remove_response(queries: Queries, owner: str, id: str) -> int:
    removed = await queries.execute(
        "DELETE FROM stored_object WHERE owner = ? AND kind = 'response' AND id = ?", (owner, id)
    )
    await queries.execute(
        "DELETE FROM stored_object WHERE owner = ? AND kind = 'events' AND id = ?", (owner, id)
    )
    return removed


async def remove_conversation(queries: Queries, owner: str, id: str) -> int:
    removed = await queries.execute(
        "DELETE FROM stored_object WHERE owner = ? AND kind = 'conversation' AND id = ?", (owner, id)
    )
    await queries.execute("DELETE FROM stored_item WHERE owner = ? AND conversation = ?", (owner, id))
    return removed


async def remove_item(queries: Queries, owner: str, conversation: str, id: str) -> int:
    sql = "DELETE FROM stored_item WHERE owner = ? AND conversation = ? AND id = ?"
    return await queries.execute(sql, (owner, conversation, id))


async def renew(queries: Queries, process: str, hold_us: int) -> None:
    """The process is alive."""
    await queries.execute(_RENEW, (process, hold_us))


async def made_by(queries: Queries, process: str) -> list[str]:
    """The responses that a process is still to make."""
    rows = await queries.fetch("SELECT id FROM stored_object WHERE maker = ? AND state <> ''", (process,))
    return [row["id"] for row in rows]


async def forget(queries: Queries) -> int:
    """Removes some of what is too old; how much."""
    gone = await queries.fetch(
        f"""
        DELETE FROM stored_object WHERE (owner, kind, id) IN (
            SELECT owner, kind, id FROM stored_object WHERE expires_us < {_NOW}
            LIMIT {_MOST} FOR UPDATE SKIP LOCKED
        ) RETURNING owner, kind, id
        """
    )
    for row in gone:
        if row["kind"] == "conversation":
            await remove_conversation(queries, row["owner"], row["id"])
    await queries.execute(f"DELETE FROM stored_maker WHERE until_us < {_NOW} - 86400000000")
    return len(gone)
