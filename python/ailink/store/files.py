"""Files in the database: a row, and its content in sealed pieces."""

from __future__ import annotations

import msgspec

from ailink.store.database import Database, Queries, Value


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Times are µs since 1970."""

    id: str
    org_id: str | None = None
    trace_id: str | None = None
    owner: str
    key_id: str
    purpose: str
    name: str
    bytes: int
    created_us: int
    expires_us: int


_COLUMNS = ", ".join(File.__struct_fields__)
_MARKS = ", ".join("?" for _ in File.__struct_fields__)


async def insert(database: Database, record: File, pieces: list[str]) -> None:
    """All of it or nothing."""
    async with database.transaction() as queries:
        await queries.execute(
            f"INSERT INTO file ({_COLUMNS}) VALUES ({_MARKS})", msgspec.structs.astuple(record)
        )
        whose = (record.org_id, record.trace_id)
        rows = [(record.id, number, *whose, piece) for number, piece in enumerate(pieces)]
        columns = "file_id, number, org_id, trace_id, sealed"
        await queries.executemany(f"INSERT INTO file_piece ({columns}) VALUES (?, ?, ?, ?, ?)", rows)


async def get(queries: Queries, file_id: str, owner: str, now_us: int) -> File | None:
    """One of the owner's."""
    row = await queries.fetchrow(
        f"SELECT {_COLUMNS} FROM file WHERE id = ? AND owner = ? AND expires_us > ?", (file_id, owner, now_us)
    )
    return None if row is None else File(**row)


async def piece(queries: Queries, file_id: str, number: int) -> str | None:
    row = await queries.fetchrow(
        "SELECT sealed FROM file_piece WHERE file_id = ? AND number = ?", (file_id, number)
    )
    return None if row is None else str(row["sealed"])


async def page(
    queries: Queries, owner: str, purpose: str | None, after: File | None, limit: int, now_us: int
) -> list[File]:
    """Newest first."""
    where, params = "owner = ? AND expires_us > ?", list[Value]([owner, now_us])
    if purpose is not None:
        where, params = f"{where} AND purpose = ?", [*params, purpose]
    if after is not None:
        where = f"{where} AND (created_us < ? OR (created_us = ? AND id < ?))"
        params = [*params, after.created_us, after.created_us, after.id]
    sql = f"SELECT {_COLUMNS} FROM file WHERE {where} ORDER BY created_us DESC, id DESC LIMIT ?"
    return [File(**row) for row in await queries.fetch(sql, [*params, limit])]


async def kept_bytes(queries: Queries, owner: str) -> int:
    row = await queries.fetchrow("SELECT COALESCE(SUM(bytes), 0) AS n FROM file WHERE owner = ?", (owner,))
    return 0 if row is None else int(row["n"])


async def remove(database: Database, file_id: str) -> None:
    async with database.transaction() as queries:
        await queries.execute("DELETE FROM file_piece WHERE file_id = ?", (file_id,))
        await queries.execute("DELETE FROM file WHERE id = ?", (file_id,))


async def named(queries: Queries, owner: str, purpose: str, name: str) -> list[str]:
    """Ids of those of one name."""
    rows = await queries.fetch(
        "SELECT id FROM file WHERE owner = ? AND purpose = ? AND name = ?", (owner, purpose, name)
    )
    return [row["id"] for row in rows]


async def expired(queries: Queries, now_us: int) -> list[str]:
    rows = await queries.fetch("SELECT id FROM file WHERE expires_us <= ? LIMIT 100", (now_us,))
    return [row["id"] for row in rows]
