"""Batches in the database. Whoever follows one has claimed it for a while.

A change of hands counts as a change of the row: its `version` is the fence that who held it before does not
get past. The time of claims is the database's, so that clocks of nodes do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store import leaders
from ailink.store.database import Database, Queries, Value

ENDED = ("completed", "failed", "expired", "cancelled")
_OPEN = f"status NOT IN ({', '.join(repr(status) for status in ENDED)})"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Why it failed; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a batch beside its columns. Times are µs since 1970; `remote`: its names at the
    provider; `spent`: pico-USD.
    """

    endpoint: str
    operation: str
    window: str
    model: str
    asked: str
    """The model as the lines name it."""
    deployment: str
    input_file: str
    output_file: str | None = None
    error_file: str | None = None
    metadata: dict[str, str] | None = None
    request_id: str
    remote: dict[str, str] = {}
    counts: Counts = Counts()
    faults: list[Fault] = []
    spent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cancelled: bool = False
    """Somebody wants it to end."""
    times: dict[str, int] = {}
    ends_us: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    org_id: str | None = None
    trace_id: str | None = None
    owner: str
    key_id: str
    status: str
    claimed_by: str | None = None
    claim_until_us: int = 0
    node: int = 0
    document: str
    created_us: int
    updated_us: int
    ended_us: int | None = None
    version: int = 1

    def told(self) -> Document:
        return msgspec.json.decode(self.document, type=Document)


_COLUMNS = ", ".join(Batch.__struct_fields__)
_MARKS = ", ".join("?" for _ in Batch.__struct_fields__)


def packed(document: Document) -> str:
    return msgspec.json.encode(document).decode()


async def insert(queries: Queries, record: Batch) -> None:
    await queries.execute(
        f"INSERT INTO batch ({_COLUMNS}) VALUES ({_MARKS})", msgspec.structs.astuple(record)
    )


async def get(queries: Queries, batch_id: str, owner: str | None = None) -> Batch | None:
    sql, params = f"SELECT {_COLUMNS} FROM batch WHERE id = ?", list[Value]([batch_id])
    if owner is not None:
        sql, params = f"{sql} AND owner = ?", [*params, owner]
    row = await queries.fetchrow(sql, params)
    return None if row is None else Batch(**row)


async def page(queries: Queries, owner: str, after: Batch | None, limit: int) -> list[Batch]:
    """Newest first."""
    where, params = "owner = ?", list[Value]([owner])
    if after is not None:
        where = f"{where} AND (created_us < ? OR (created_us = ? AND id < ?))"
        params = [*params, after.created_us, after.created_us, after.id]
    sql = f"SELECT {_COLUMNS} FROM batch WHERE {where} ORDER BY created_us DESC, id DESC LIMIT ?"
    return [Batch(**row) for row in await queries.fetch(sql, [*params, limit])]


async def count_open(queries: Queries, owner: str) -> int:
    row = await queries.fetchrow(f"SELECT COUNT(*) AS n FROM batch WHERE owner = ? AND {_OPEN}", (owner,))
    return 0 if row is None else int(row["n"])


async def open_with(queries: Queries, owner: str, file_id: str) -> bool:
    """Whether a batch under way is made of this file."""
    row = await queries.fetchrow(
        f"SELECT id FROM batch WHERE owner = ? AND {_OPEN} AND document LIKE ?",
        (owner, f'%"input_file":"{file_id}"%'),
    )
    return row is not None


async def update(database: Database, before: Batch, document: Document, **columns: Value) -> Batch | None:
    """The row as it is then; None when somebody else has changed it since."""
    columns |= {"document": packed(document), "version": before.version + 1}
    names = ", ".join(f"{name} = ?" for name in columns)
    changed = await database.execute(
        f"UPDATE batch SET {names} WHERE id = ? AND version = ?",
        [*columns.values(), before.id, before.version],
    )
    return msgspec.structs.replace(before, **columns) if changed else None


async def claim(database: Database, process: str, hold_us: int) -> Sequence[Batch]:
    """Those under way that this process follows from now on: its own, and those whose follower is silent."""
    await renew(database, process, hold_us)
    now_us = await leaders.time_us(database, database)
    await database.execute(
        f"UPDATE batch SET claimed_by = ?, claim_until_us = ?, version = version + 1 WHERE {_OPEN} "
        "AND (claimed_by IS NULL OR claim_until_us < ?)",
        (process, now_us + hold_us, now_us),
    )
    sql = f"SELECT {_COLUMNS} FROM batch WHERE {_OPEN} AND claimed_by = ? ORDER BY created_us"
    return [Batch(**row) for row in await database.fetch(sql, (process,))]


async def renew(database: Database, process: str, hold_us: int) -> None:
    """What nobody else has taken over meanwhile stays this process's."""
    until_us = await leaders.time_us(database, database) + hold_us
    await database.execute(
        f"UPDATE batch SET claim_until_us = ? WHERE {_OPEN} AND claimed_by = ?", (until_us, process)
    )


async def check(queries: Queries, record: Batch) -> None:
    """Raises `leaders.DeposedError` when it has changed hands since it was read, or was changed at all."""
    row = await queries.fetchrow("SELECT version FROM batch WHERE id = ?", (record.id,))
    if row is None or row["version"] != record.version:
        raise leaders.DeposedError(f"another process follows {record.id} now")


async def let_go(queries: Queries, process: str) -> None:
    """Another process may follow them at once."""
    await queries.execute(
        f"UPDATE batch SET claimed_by = NULL, claim_until_us = 0 WHERE {_OPEN} AND claimed_by = ?", (process,)
    )


async def forget(queries: Queries, before_us: int) -> int:
    return await queries.execute("DELETE FROM batch WHERE ended_us < ?", (before_us,))
